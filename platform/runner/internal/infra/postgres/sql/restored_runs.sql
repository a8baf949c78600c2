UPDATE live_run SET owner = $1, held = 'restored'
