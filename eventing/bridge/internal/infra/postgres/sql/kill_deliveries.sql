UPDATE delivery SET died_at = now(), claimed_until = NULL, last_error = $2 WHERE subscription = $1 AND died_at IS NULL
