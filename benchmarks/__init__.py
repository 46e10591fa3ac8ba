"""Benchmarks: image generator, floor program, and the one command that prints the table.

Nothing here imports `qcow2_dump`: the program is measured from outside, as a user runs it,
and the images are written by code that cannot share a mistake with the reader.
"""
