DELETE FROM rate WHERE ctid = ANY (ARRAY(SELECT ctid FROM rate WHERE full_at < now() LIMIT 10000))
