SELECT project, kind, name, value FROM step_cap
