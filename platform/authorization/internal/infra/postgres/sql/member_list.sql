SELECT project, role FROM member WHERE account_id = $1
