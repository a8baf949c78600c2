UPDATE lease SET expires_at = clock_timestamp() + $2::interval WHERE fence = $1 AND expires_at >= clock_timestamp()
