WITH put AS (
    UPDATE delivery SET claimed_until = NULL, last_error = $3, next_at = now() + $4::interval, died_at = CASE WHEN $5 THEN now() END
    WHERE seq = $1 AND tries = $2 AND died_at IS NULL RETURNING subscription
)
UPDATE subscription SET last_error = $3 FROM put WHERE id = put.subscription
