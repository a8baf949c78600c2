WITH doomed AS (
    SELECT b.id FROM build b
    WHERE b.state IN ('failed', 'cancelled') AND b.finished_at < $1
      AND (EXISTS (SELECT 1 FROM build n WHERE n.repository_id = b.repository_id AND n.path = b.path AND n.id > b.id)
           OR NOT EXISTS (SELECT 1 FROM repository r WHERE r.id = b.repository_id))
    ORDER BY b.id LIMIT $2 FOR UPDATE OF b SKIP LOCKED
)
DELETE FROM build USING doomed WHERE build.id = doomed.id RETURNING build.project, build.build
