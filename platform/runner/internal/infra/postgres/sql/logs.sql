SELECT first, step, path, attempt, body FROM log_chunk
WHERE run = $1 AND last > $2 AND ($3 = '' OR step = $3) AND ($4::integer[] IS NULL OR path = $4) AND ($5 = 0 OR attempt = $5)
    AND first > $6
ORDER BY first LIMIT $7
