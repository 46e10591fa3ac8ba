"""Dump, check and repair the metadata of qcow2 disk images."""
