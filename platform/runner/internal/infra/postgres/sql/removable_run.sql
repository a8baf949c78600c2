SELECT finished_at IS NOT NULL AS ended, run_needed(id, parent, trigger_kind, created_at) AS needed, COALESCE(parent::text, '') AS parent
FROM run WHERE id = $1 AND project = $2 FOR UPDATE
