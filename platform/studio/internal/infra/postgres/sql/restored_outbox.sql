DELETE FROM outbox WHERE key IN ('WorkflowDeployed', 'WorkflowUndeployed')
