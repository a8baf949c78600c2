SELECT fence, estate FROM incarnation WHERE heir = $1 AND NOT settled ORDER BY fence
