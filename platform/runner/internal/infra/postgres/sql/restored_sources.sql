UPDATE source_owner SET owner = $1
