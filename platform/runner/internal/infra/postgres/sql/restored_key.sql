UPDATE peer_key SET key = gen_random_uuid()::text || gen_random_uuid()::text
