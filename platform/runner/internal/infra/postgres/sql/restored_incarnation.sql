INSERT INTO incarnation (name) VALUES ('restored') RETURNING fence
