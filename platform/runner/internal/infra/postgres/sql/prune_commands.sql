DELETE FROM inbox WHERE NOT EXISTS (SELECT 1 FROM live_run l WHERE l.run = inbox.run)
