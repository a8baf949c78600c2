SELECT project, name, value, updated_at FROM variable ORDER BY project, name
