SELECT outputs AS value FROM step_cache WHERE project = $1 AND position('sha256:'::bytea IN outputs) > 0
UNION ALL SELECT value FROM variable WHERE project = $1 AND position('sha256:'::bytea IN value) > 0
UNION ALL SELECT definition FROM deployment WHERE project = $1 AND position('sha256:'::bytea IN definition) > 0
UNION ALL SELECT i.payload FROM inbox i JOIN run r ON r.id = i.run WHERE r.project = $1 AND position('sha256:'::bytea IN i.payload) > 0
UNION ALL SELECT c.cursor FROM source_cursor c JOIN deployment d ON d.id = c.deployment WHERE d.project = $1 AND position('sha256:'::bytea IN c.cursor) > 0
