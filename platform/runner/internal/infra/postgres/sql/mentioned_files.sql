SELECT DISTINCT project, 'sha256:' || encode(digest, 'hex') AS digest FROM run_file ORDER BY 1, 2
