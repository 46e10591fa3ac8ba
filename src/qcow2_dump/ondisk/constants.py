"""The numbers of the qcow2 format: magics, limits and feature bits.

Limits are those of the format description or of QEMU 7.2, whichever is narrower; each
says which unit it counts.
"""

from enum import IntEnum, IntFlag

MAGIC = 0x514649FB
"""``Q F I 0xFB``, the first four bytes of every image."""

V2_HEADER_LENGTH = 72
"""Bytes of a version 2 header."""

V3_MIN_HEADER_LENGTH = 104
"""Bytes that a version 3 header has at least; compression_type lies behind them."""

MIN_CLUSTER_BITS = 9
MAX_CLUSTER_BITS = 21

MIN_EXTENDED_L2_CLUSTER_BITS = 14
"""Below it a subcluster would be smaller than a sector."""

MAX_REFCOUNT_ORDER = 6
DEFAULT_REFCOUNT_ORDER = 4
"""Of version 2, and of everything that qemu-img creates unless told otherwise."""

SECTOR_SIZE = 512
"""Bytes; the unit of compressed data lengths and of QEMU's file length."""

MAX_L1_ENTRIES = 4_194_304
"""Entries of one L1 table (32 MiB)."""

MAX_REFCOUNT_TABLE_BYTES = 8 * 1024 * 1024

MAX_SNAPSHOTS = 65_536
MAX_SNAPSHOT_TABLE_BYTES = 64 * 1024 * 1024
MAX_SNAPSHOT_EXTRA = 1024
"""Bytes of extra data in one snapshot record."""
MIN_V3_SNAPSHOT_EXTRA = 16

MAX_BITMAPS = 65_535
MAX_BITMAP_DIRECTORY_BYTES = 67_107_840
MAX_BITMAP_TABLE_ENTRIES = 134_217_728
MAX_BITMAP_BYTES = 512 * 1024 * 1024
"""Bytes of bitmap data (table entries times cluster size) of one bitmap."""
MAX_BITMAP_NAME = 1023
MIN_BITMAP_GRANULARITY_BITS = 9
MAX_BITMAP_GRANULARITY_BITS = 31

MAX_FILE_OFFSET = 2**63 - 1
MAX_READABLE_OFFSET = 0x7FFFFFFFC0000000
"""QEMU reads nothing that ends above this byte offset."""

MAX_HOST_CLUSTERS = 2**31 - 1
MAX_L1_INDEX = 2**31 - 1
"""QEMU keeps the number of L1 entries of a disk in a signed 32-bit integer."""

MAX_BACKING_NAME = 1023
"""Bytes."""
MAX_BACKING_FORMAT = 15
"""Bytes."""


class IncompatibleFeature(IntFlag):
    """Bits of incompatible_features; an unknown bit forbids opening (format section 1.2)."""

    DIRTY = 1 << 0
    CORRUPT = 1 << 1
    DATA_FILE = 1 << 2
    COMPRESSION_TYPE = 1 << 3
    EXTENDED_L2 = 1 << 4


class CompatibleFeature(IntFlag):
    """Bits of compatible_features; unknown bits are ignored and kept."""

    LAZY_REFCOUNTS = 1 << 0


class AutoclearFeature(IntFlag):
    """Bits of autoclear_features; unknown bits are cleared before the first write."""

    BITMAPS = 1 << 0
    RAW_DATA_FILE = 1 << 1


# Masks are integers: ``~`` of an IntFlag gives only its other known bits, losing unknown ones.
KNOWN_INCOMPATIBLE = 0x1F
KNOWN_COMPATIBLE = 0x1
KNOWN_AUTOCLEAR = 0x3


class CompressionType(IntEnum):
    """How compressed clusters are packed: a raw deflate stream, or zstd."""

    DEFLATE = 0
    ZSTD = 1


class CryptMethod(IntEnum):
    """How guest data is encrypted (format section 7); metadata never is."""

    NONE = 0
    AES = 1
    LUKS = 2


class ExtensionType(IntEnum):
    """Known types of header extensions (format section 1.4)."""

    END = 0x00000000
    BACKING_FORMAT = 0xE2792ACA
    FEATURE_NAMES = 0x6803F857
    BITMAPS = 0x23852875
    CRYPTO = 0x0537BE77
    DATA_FILE = 0x44415441


class BitmapFlag(IntFlag):
    """Flags of a bitmap directory entry; QEMU treats EXTRA_DATA_COMPATIBLE as reserved."""

    IN_USE = 1 << 0
    AUTO = 1 << 1
    EXTRA_DATA_COMPATIBLE = 1 << 2


KNOWN_BITMAP_FLAGS = 0x7
