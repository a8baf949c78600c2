INSERT INTO run (id, project, workflow, revision, revision_id, deployment, state, trigger_kind, trigger_id, created_at)
SELECT r.id, r.project, r.workflow, r.revision, r.revision_id, r.deployment, r.state, r.trigger_kind, r.trigger_id, r.created_at
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::uuid[], $7::text[], $8::text[], $9::text[], $10::timestamptz[])
    AS r (id, project, workflow, revision, revision_id, deployment, state, trigger_kind, trigger_id, created_at)
ON CONFLICT DO NOTHING
