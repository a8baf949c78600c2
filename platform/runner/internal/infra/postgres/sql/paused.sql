SELECT project, workflow, reason, since FROM paused_workflow
