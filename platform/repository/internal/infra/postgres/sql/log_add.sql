INSERT INTO build_log (order_id, seq, lines) SELECT $1, $2, $3 WHERE EXISTS (SELECT 1 FROM build WHERE id = $1) ON CONFLICT DO NOTHING
