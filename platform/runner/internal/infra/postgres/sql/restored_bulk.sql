UPDATE bulk SET state = 'stopped', problem = 'restored from a backup', ended_at = now() WHERE state = 'running'
