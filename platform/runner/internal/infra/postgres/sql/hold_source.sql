INSERT INTO source_owner AS s (place, owner) SELECT $1, $2 WHERE $3 OR EXISTS (SELECT FROM source_owner o WHERE o.place = $1 AND o.owner = $2)
ON CONFLICT (place) DO UPDATE SET owner = excluded.owner
    WHERE s.owner = excluded.owner OR NOT EXISTS (SELECT FROM incarnation i WHERE i.fence = s.owner AND i.live)
