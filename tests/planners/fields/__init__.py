"""Tests of the makers of plans."""
