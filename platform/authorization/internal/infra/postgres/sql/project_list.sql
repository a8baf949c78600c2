SELECT name, created_at FROM project ORDER BY name
