WITH slept AS (DELETE FROM sleeping WHERE run = ANY ($1::uuid[])), snapped AS (DELETE FROM snapshot WHERE run = ANY ($1::uuid[]))
DELETE FROM awaiting WHERE run = ANY ($1::uuid[])
