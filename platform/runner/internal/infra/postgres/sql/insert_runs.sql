INSERT INTO run (id, project, workflow, revision, revision_id, deployment, state, trigger_kind, trigger_id, created_at, finished_at, error_kind, error_message, error_step)
SELECT r.* FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::uuid[], $7::text[], $8::text[], $9::text[], $10::timestamptz[],
    $11::timestamptz[], $12::text[], $13::text[], $14::text[]) AS r
ON CONFLICT DO NOTHING
