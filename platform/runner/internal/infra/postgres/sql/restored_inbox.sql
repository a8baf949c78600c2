DELETE FROM inbox WHERE kind = 'resume'
