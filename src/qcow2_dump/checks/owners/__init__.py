"""Who claims a host cluster."""
