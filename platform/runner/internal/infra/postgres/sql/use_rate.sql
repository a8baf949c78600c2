INSERT INTO rate (project, key, full_at) VALUES ($1, $2, clock_timestamp() + $3::interval)
ON CONFLICT (project, key) DO UPDATE SET full_at = greatest(rate.full_at, clock_timestamp()) + $3::interval
