SELECT s.project, s.id AS subscription FROM subscription s JOIN delivery d ON d.subscription = s.id AND d.died_at IS NULL
WHERE s.disabled = '' GROUP BY s.project, s.id HAVING count(*) > $1::bigint ORDER BY s.id
