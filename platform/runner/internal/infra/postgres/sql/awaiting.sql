SELECT run::text AS run, step, path, project, workflow, kind, text, since, due FROM awaiting
WHERE project = $1 AND ($2 = '' OR run = NULLIF($2, '')::uuid) AND (cardinality($3::text[]) = 0 OR kind = ANY ($3::text[]))
    AND (since, run, step, path) > ($4::timestamptz, $5::uuid, $7::text, $8::int[])
ORDER BY since, run, step, path LIMIT $6
