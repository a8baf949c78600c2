SELECT workflow, deployment, types FROM wanting WHERE project = $1 AND types <> '{}'
