UPDATE incarnation SET live = false, ended_at = now() WHERE live
