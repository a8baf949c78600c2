DELETE FROM lease WHERE fence = $1 AND ($2 OR expires_at < clock_timestamp())
