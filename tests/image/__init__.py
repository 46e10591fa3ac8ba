"""Tests of opened images and what they lead to."""
