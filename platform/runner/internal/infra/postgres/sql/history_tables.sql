SELECT c.relname::text AS name, p.relname IS NOT NULL AS attached, COALESCE(i.inhdetachpending, false) AS pending
FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'run'::regclass) AND c.relkind = 'r'
    AND c.relname ~ '^(run|journal|log_chunk)_[0-9]{8}$'
ORDER BY c.relname
