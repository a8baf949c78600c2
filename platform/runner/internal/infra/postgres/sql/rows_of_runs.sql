SELECT run::text AS run, row FROM journal WHERE run = ANY ($1::uuid[]) ORDER BY run, seq
