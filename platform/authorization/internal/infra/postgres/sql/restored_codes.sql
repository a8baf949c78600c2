DELETE FROM login_code
