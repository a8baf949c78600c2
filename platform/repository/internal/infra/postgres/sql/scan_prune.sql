DELETE FROM scan WHERE repository_id = $1 AND id <= (SELECT id FROM scan WHERE repository_id = $1 ORDER BY id DESC OFFSET $2 LIMIT 1)
