"""Images made to exhaust whoever reads them, and names made to fool whoever shows them."""
