DELETE FROM unreferenced u WHERE u.project = $1 AND EXISTS (SELECT FROM run_file f WHERE f.project = $1 AND f.digest = u.digest)
