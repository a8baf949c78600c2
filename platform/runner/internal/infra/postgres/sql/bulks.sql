SELECT id::text AS id, project, kind, query, state, done, failed, problem, cursor::text AS cursor, created_at, ended_at
FROM bulk WHERE $1 = '' OR project = $1 ORDER BY id DESC LIMIT $2
