INSERT INTO retention (project, ms) VALUES ($1, $2) ON CONFLICT (project) DO UPDATE SET ms = excluded.ms
