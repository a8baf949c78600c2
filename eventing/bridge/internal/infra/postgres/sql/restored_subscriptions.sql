UPDATE subscription SET paused = true
