DELETE FROM scan USING (SELECT id, row_number() OVER (PARTITION BY repository_id ORDER BY id DESC) AS n FROM scan) AS ranked WHERE scan.id = ranked.id AND ranked.n > $1
