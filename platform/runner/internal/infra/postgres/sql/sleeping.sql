SELECT run::text AS run FROM sleeping WHERE due < $1 ORDER BY due LIMIT $2
