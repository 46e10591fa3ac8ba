"""What fills the file: who uses each host cluster, and what that adds up to."""
