SELECT key FROM peer_key
