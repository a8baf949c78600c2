DELETE FROM login_code WHERE hash = $1 RETURNING account_id::text, expires_at
