INSERT INTO step_cap (project, kind, name, value) SELECT $1, unnest($2::text[]), unnest($3::text[]), unnest($4::integer[])
