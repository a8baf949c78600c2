SELECT seq, lines FROM build_log WHERE order_id = $1 AND seq > $2 ORDER BY seq LIMIT 500
