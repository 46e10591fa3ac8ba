"""The opened image: reads, gives no verdicts, knows no options, counters or output."""
