"""Every entry of the metadata in guest order, for whoever lists them."""
