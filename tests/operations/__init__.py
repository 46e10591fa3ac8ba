"""Tests of the runs: their events, their failures, their interruption."""
