SELECT project, ms FROM retention
