DELETE FROM run WHERE id = ANY ($1::uuid[])
