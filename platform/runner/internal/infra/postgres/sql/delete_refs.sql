DELETE FROM run_file WHERE run = ANY ($1::uuid[])
