DELETE FROM journal WHERE run = ANY ($1::uuid[])
