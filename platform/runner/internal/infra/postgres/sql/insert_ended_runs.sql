INSERT INTO run (id, project, workflow, revision, revision_id, deployment, state, trigger_kind, trigger_id, created_at, retry_of, tags,
    finished_at, error_kind, error_message, error_step, fingerprint, cpu_micros, gib_seconds, parent)
SELECT r.id, r.project, r.workflow, r.revision, r.revision_id, r.deployment, r.state, r.trigger_kind, r.trigger_id, r.created_at, r.retry_of, r.tags::text[],
    r.finished_at, r.error_kind, r.error_message, r.error_step, r.fingerprint, r.cpu_micros, r.gib_seconds, r.parent
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::uuid[], $7::text[], $8::text[], $9::text[], $10::timestamptz[], $11::uuid[], $12::text[],
    $13::timestamptz[], $14::text[], $15::text[], $16::text[], $17::text[], $18::bigint[], $19::double precision[], $20::uuid[])
    AS r (id, project, workflow, revision, revision_id, deployment, state, trigger_kind, trigger_id, created_at, retry_of, tags,
    finished_at, error_kind, error_message, error_step, fingerprint, cpu_micros, gib_seconds, parent)
ON CONFLICT DO NOTHING
