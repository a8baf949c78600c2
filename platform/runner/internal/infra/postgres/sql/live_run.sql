SELECT r.id::text AS id, r.project, r.workflow, r.revision, r.revision_id, r.deployment::text AS deployment, r.state, r.trigger_kind, r.trigger_id,
    r.created_at, r.finished_at, r.error_kind, r.error_message, r.error_step, l.owner, l.held, EXISTS (SELECT FROM sleeping s WHERE s.run = l.run) AS asleep
FROM live_run l JOIN run r ON r.id = l.run WHERE l.run = $1
