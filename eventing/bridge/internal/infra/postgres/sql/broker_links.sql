SELECT project, sealed, created_at, going FROM broker WHERE $1 = '' OR project = $1 ORDER BY project
