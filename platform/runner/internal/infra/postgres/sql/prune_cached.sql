DELETE FROM step_cache WHERE ctid = ANY (ARRAY(SELECT ctid FROM step_cache WHERE expires_at < now() LIMIT 10000))
