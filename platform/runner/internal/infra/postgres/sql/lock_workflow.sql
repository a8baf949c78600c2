SELECT pg_advisory_xact_lock(hashtextextended('deploy ' || $1, 0))
