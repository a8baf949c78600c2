INSERT INTO run_file (run, project, digest, text)
SELECT f.run, r.project, f.digest, f.text FROM unnest($1::uuid[], $2::bytea[], $3::boolean[]) AS f (run, digest, text) JOIN run r ON r.id = f.run
ON CONFLICT DO NOTHING
