UPDATE incarnation SET heir = $2 WHERE heir = $1 AND NOT settled
