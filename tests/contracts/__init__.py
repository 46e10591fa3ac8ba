"""Promises that hold for the whole package, whatever the modules do."""
