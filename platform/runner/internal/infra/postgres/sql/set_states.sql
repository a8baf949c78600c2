UPDATE run SET state = n.state FROM (SELECT unnest($1::uuid[]) AS id, unnest($2::text[]) AS state) n WHERE run.id = n.id
