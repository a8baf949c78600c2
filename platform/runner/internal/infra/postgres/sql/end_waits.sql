WITH slept AS (DELETE FROM sleeping WHERE run = ANY ($1::uuid[]))
DELETE FROM awaiting WHERE run = ANY ($1::uuid[])
