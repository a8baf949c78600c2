SELECT project, workflow, trigger, spec, deployment::text AS deployment, due, run FROM schedule WHERE project = $1 AND workflow = $2 AND trigger = $3
