"""The subcommands: what each accepts, says of itself, and becomes. None imports what it runs."""
