SELECT DISTINCT project FROM deployment ORDER BY project
