SELECT project, name, sealed, updated_at FROM secret ORDER BY project, name
