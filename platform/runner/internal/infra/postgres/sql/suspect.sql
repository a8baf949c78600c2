WITH listed AS (SELECT unnest($2::bytea[]) AS digest),
free AS (
    SELECT l.digest FROM listed l
    WHERE NOT EXISTS (SELECT FROM run_file f WHERE f.project = $1 AND f.digest = l.digest)
        AND NOT EXISTS (SELECT FROM loose_file f WHERE f.project = $1 AND f.digest = l.digest)
        AND NOT EXISTS (SELECT FROM text_file f WHERE f.project = $1 AND f.digest = l.digest)),
cleared AS (
    DELETE FROM unreferenced u USING listed l
    WHERE u.project = $1 AND u.digest = l.digest AND NOT EXISTS (SELECT FROM free f WHERE f.digest = l.digest)),
added AS (
    INSERT INTO unreferenced (project, digest, since) SELECT $1, digest, $3 FROM free ON CONFLICT DO NOTHING)
SELECT u.digest FROM free f JOIN unreferenced u ON u.project = $1 AND u.digest = f.digest WHERE u.since < $4
