"""Tests of the command line: what is asked, what is returned, what happens when output fails."""
