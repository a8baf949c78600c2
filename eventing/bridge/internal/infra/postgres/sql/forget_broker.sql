DELETE FROM broker WHERE project = $1 AND going
