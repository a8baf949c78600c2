DELETE FROM outbox WHERE key = 'DeploymentChanged'
