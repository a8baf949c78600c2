INSERT INTO text_file (project, holder, digest, text) SELECT $1, $2, unnest($3::bytea[]), unnest($4::boolean[]) ON CONFLICT DO NOTHING
