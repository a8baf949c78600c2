DELETE FROM awaiting WHERE run = $1 AND step = $2 AND path = $3
