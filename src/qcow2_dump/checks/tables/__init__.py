"""How the tables are read: each stretch of the file once, however many trees share it."""
