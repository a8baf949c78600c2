UPDATE bulk SET state = 'stopped', ended_at = now() WHERE project = $1 AND id = $2 AND state = 'running'
