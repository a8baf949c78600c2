UPDATE workflow SET auto_deploy = false
