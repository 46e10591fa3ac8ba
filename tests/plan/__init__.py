"""Tests of plans: undo files, applying, recovering, and the image as it would be."""
