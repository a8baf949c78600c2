SELECT pg_notify('pelton_runner', $1)
