WITH gone AS (DELETE FROM delivery WHERE seq = $1 AND tries = $2 RETURNING subscription)
UPDATE subscription SET delivered = delivered + 1, delivered_at = now(), last_error = '' FROM gone WHERE id = gone.subscription
