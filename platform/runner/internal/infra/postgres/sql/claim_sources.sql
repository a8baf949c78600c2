UPDATE source_owner SET owner = $2 WHERE owner = $1
