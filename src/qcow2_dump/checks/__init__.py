"""What is wrong with an image: the catalogue of findings, the passes, the checker. Never writes."""
