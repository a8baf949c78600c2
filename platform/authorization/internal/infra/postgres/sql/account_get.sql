SELECT id::text AS id, name, password, admin, created_at FROM account WHERE id = $1
