INSERT INTO loose_file (project, digest, text) SELECT $1, unnest($2::bytea[]), unnest($3::boolean[]) ON CONFLICT DO NOTHING
