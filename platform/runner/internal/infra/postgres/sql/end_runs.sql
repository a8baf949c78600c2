WITH e AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::double precision[])
        AS e (id, state, finished_at, error_kind, error_message, error_step, fingerprint, cpu_micros, gib_seconds)
), gone AS (DELETE FROM live_run USING e WHERE live_run.run = e.id)
UPDATE run SET state = e.state, finished_at = e.finished_at, error_kind = e.error_kind, error_message = e.error_message, error_step = e.error_step,
    fingerprint = e.fingerprint, cpu_micros = e.cpu_micros, gib_seconds = e.gib_seconds
FROM e WHERE run.id = e.id AND run.id BETWEEN $10 AND $11
