UPDATE repository SET auto_deploy = false
