"""What the feature bits are called (format section 1.2), in the words that images use as well."""

__all__ = ["FEATURE_WORDS", "KNOWN_FEATURES"]

FEATURE_WORDS = ("incompatible", "compatible", "autoclear")
"""The feature words by their number in a feature name table."""

KNOWN_FEATURES: dict[tuple[int, int], str] = {
    (0, 0): "dirty bit",
    (0, 1): "corrupt bit",
    (0, 2): "external data file",
    (0, 3): "compression type",
    (0, 4): "extended L2 entries",
    (1, 0): "lazy refcounts",
    (2, 0): "bitmaps",
    (2, 1): "raw external data",
}
"""Names by word and bit: those that QEMU writes into the feature name table."""
