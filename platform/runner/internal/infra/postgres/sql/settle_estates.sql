UPDATE incarnation SET settled = true WHERE fence = ANY ($1::bigint[])
