"""Tests of the words: text, JSON, advice, escapes."""
