"""What a user can ask: requests as values, and the runs that answer them."""
