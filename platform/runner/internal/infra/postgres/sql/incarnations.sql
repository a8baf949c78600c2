SELECT i.fence, i.name, i.address, i.estate, l.fence IS NOT NULL AS leased, l.fence IS NOT NULL AND l.expires_at < clock_timestamp() AS expired
FROM incarnation i LEFT JOIN lease l ON l.fence = i.fence WHERE i.live ORDER BY i.fence
