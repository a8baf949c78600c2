SELECT id, run::text AS run, kind, reason, payload, created_at FROM inbox
WHERE run = ANY ($1::uuid[]) ORDER BY created_at, id
