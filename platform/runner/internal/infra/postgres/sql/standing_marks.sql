SELECT id::text || ' ' || state || ' ' || changed_at AS mark FROM deployment WHERE state = 'live' ORDER BY id
