UPDATE run r SET state = 'paused' FROM live_run l WHERE r.id = l.run
