"""The benchmark's own parts: images that are what their specs say, and honest measurements."""
