DELETE FROM sleeping WHERE run = ANY ($1::uuid[])
