INSERT INTO outbox (id, exchange, key, body, created_at)
SELECT m.id, 'runner.v1', m.key, m.body, now() FROM unnest($1::uuid[], $2::text[], $3::bytea[]) WITH ORDINALITY AS m (id, key, body, n)
ORDER BY m.n ON CONFLICT (id) DO NOTHING
