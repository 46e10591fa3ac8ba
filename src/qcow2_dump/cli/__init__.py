"""How it is asked: command lines in, words and exit statuses out."""
