UPDATE incarnation SET live = false, ended_at = coalesce(ended_at, now()), estate = '', settled = true, heir = $1 WHERE fence <> $1
