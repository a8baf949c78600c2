SELECT run::text AS run, seq, state FROM snapshot WHERE run = ANY ($1::uuid[])
