INSERT INTO lease (fence, expires_at) VALUES ($1, clock_timestamp() + $2::interval)
