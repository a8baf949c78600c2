INSERT INTO source_cursor (deployment, trigger, cursor) VALUES ($1, $2, $3)
ON CONFLICT (deployment, trigger) DO UPDATE SET cursor = excluded.cursor
