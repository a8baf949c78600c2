INSERT INTO login_code (hash, account_id, expires_at) VALUES ($1, $2, $3)
