SELECT cursor FROM source_cursor WHERE deployment = $1 AND trigger = $2
