SELECT setval(pg_get_serial_sequence('incarnation', 'fence'), coalesce((SELECT max(fence) FROM incarnation), 0) + 1000000)
