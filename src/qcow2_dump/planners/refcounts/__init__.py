"""Refcounts and COPIED flags that fit an image as drafted."""
