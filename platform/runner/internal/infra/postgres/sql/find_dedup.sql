SELECT run::text, body FROM dedup WHERE scope = $1 AND key = $2 AND expires_at > now()
