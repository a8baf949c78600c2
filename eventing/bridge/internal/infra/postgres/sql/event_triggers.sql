SELECT workflow, outside FROM wanting WHERE project = $1 AND outside <> '[]' ORDER BY workflow
