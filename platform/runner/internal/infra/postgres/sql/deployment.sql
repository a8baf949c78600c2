SELECT d.id::text AS id, d.project, coalesce(l.state, d.state) AS state, coalesce(l.reason, d.reason) AS reason, d.definition, d.created_at,
    coalesce(l.changed_at, d.changed_at) AS changed_at, d.weight, coalesce(d.leader::text, '') AS leader, coalesce(coalesce(l.listener, d.listener, l.id)::text, '') AS listener
FROM deployment d LEFT JOIN deployment l ON l.id = d.leader WHERE d.id = $1
