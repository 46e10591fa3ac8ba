"""Tests of qcow2-dump."""
