UPDATE deployment SET state = 'stopped', reason = 'restored from a backup', changed_at = now() WHERE state IN ('deploying', 'live')
