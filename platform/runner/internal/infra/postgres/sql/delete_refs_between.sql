DELETE FROM run_file WHERE run >= $1 AND run < $2
