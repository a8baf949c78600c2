SELECT i.fence, i.name, i.address, i.estate FROM live_run l JOIN incarnation i ON i.fence = l.owner WHERE l.run = $1
