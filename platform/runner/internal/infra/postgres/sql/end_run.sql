WITH gone AS (DELETE FROM live_run WHERE run = $1)
UPDATE run SET state = $2, finished_at = $3, error_kind = $4, error_message = $5, error_step = $6, fingerprint = $7, cpu_micros = $8, gib_seconds = $9 WHERE id = $1
