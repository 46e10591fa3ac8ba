"""Snapshots: applied, deleted, and their table mended."""
