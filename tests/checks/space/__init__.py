"""Tests of the passes: each finding where it belongs, and nowhere else."""
