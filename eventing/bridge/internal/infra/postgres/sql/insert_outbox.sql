INSERT INTO outbox (id, exchange, key, body, headers, created_at) VALUES ($1, 'bridge.v1', $2, $3, $4, now())
