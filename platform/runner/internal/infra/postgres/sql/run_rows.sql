SELECT row FROM journal WHERE run = $1 ORDER BY seq
