DELETE FROM log_chunk WHERE run = ANY ($1::uuid[])
