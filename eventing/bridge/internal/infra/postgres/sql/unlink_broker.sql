UPDATE broker SET going = true WHERE project = $1 AND NOT going
