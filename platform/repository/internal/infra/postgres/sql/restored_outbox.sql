DELETE FROM outbox WHERE key = 'WorkflowFound'
