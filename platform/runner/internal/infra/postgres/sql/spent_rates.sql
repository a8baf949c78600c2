SELECT key, full_at - clock_timestamp() AS left FROM rate WHERE project = $1 AND full_at > clock_timestamp()
