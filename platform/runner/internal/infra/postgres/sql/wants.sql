SELECT project, started, ended, failed FROM event_want WHERE started OR ended OR failed
