INSERT INTO text_read (project, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING
