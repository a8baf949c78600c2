SELECT claim_key($1, $2, $3, $4, $5)
