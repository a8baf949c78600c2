DELETE FROM removed_run WHERE run = ANY ($1::uuid[])
