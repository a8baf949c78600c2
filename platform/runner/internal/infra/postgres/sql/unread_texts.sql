SELECT digest FROM (
    SELECT digest FROM run_file WHERE project = $1 AND text AND digest > $2
    UNION SELECT digest FROM loose_file WHERE project = $1 AND text AND digest > $2
    UNION SELECT digest FROM text_file WHERE project = $1 AND text AND digest > $2) AS mentioned
WHERE NOT EXISTS (SELECT FROM text_read t WHERE t.project = $1 AND t.digest = mentioned.digest)
ORDER BY digest LIMIT $3
