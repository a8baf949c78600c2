SELECT DISTINCT d.project, b->>'Artifact' AS artifact, b->>'Digest' AS digest
FROM deployment d, jsonb_array_elements(convert_from(d.definition, 'UTF8')::jsonb->'builds') b
WHERE d.state IN ('deploying', 'live') OR d.leader IN (SELECT id FROM deployment WHERE state IN ('deploying', 'live'))
    OR d.id IN (SELECT r.deployment FROM live_run l JOIN run r ON r.id = l.run) ORDER BY 1, 2
