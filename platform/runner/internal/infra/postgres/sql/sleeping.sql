SELECT s.run::text AS run FROM sleeping s JOIN live_run l ON l.run = s.run WHERE s.due < $1 AND l.owner = $3 ORDER BY s.due LIMIT $2
