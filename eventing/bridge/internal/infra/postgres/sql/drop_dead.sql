DELETE FROM delivery WHERE project = $1 AND died_at IS NOT NULL AND ($2 = '' OR subscription::text = $2) AND ($3 = '' OR id::text = $3)
