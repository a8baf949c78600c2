UPDATE incarnation SET live = false, ended_at = now(), heir = $2
WHERE fence = $1 AND live AND NOT EXISTS (SELECT FROM lease l WHERE l.fence = $1)
