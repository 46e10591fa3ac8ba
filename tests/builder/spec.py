"""What a test says about an image: plain values, no bytes and no host offsets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

INCOMPATIBLE_DATA_FILE = 1 << 2
INCOMPATIBLE_COMPRESSION = 1 << 3
INCOMPATIBLE_EXTENDED_L2 = 1 << 4
AUTOCLEAR_BITMAPS = 1 << 0
WHOLE_CLUSTER = 1 << 62
NO_SUBCLUSTERS = 0
ALL_SUBCLUSTERS = 0xFFFFFFFF
ALL_ZERO_SUBCLUSTERS = ALL_SUBCLUSTERS << 32


@dataclass(frozen=True)
class Data:
    """A normal cluster: a fill byte, or bytes at its start (the rest is zero and stays sparse)."""

    content: int | bytes = 0x11


@dataclass(frozen=True)
class ZeroPlain:
    """Reads as zeros, owns no host cluster."""


@dataclass(frozen=True)
class ZeroAlloc:
    """Reads as zeros and owns a host cluster, which holds 0xEE so that a reader's slip shows."""


@dataclass(frozen=True)
class Compressed:
    """A compressed cluster: ``noise`` bytes that do not compress, then ``fill`` bytes."""

    fill: int = 0x22
    noise: int = 0


INCOMPRESSIBLE = Compressed(noise=WHOLE_CLUSTER)


@dataclass(frozen=True)
class Subclusters:
    """An extended L2 entry with its 64-bit bitmap (bits 0..31 allocated, 32..63 reads as zeros).

    ``allocated`` says whether it owns a host cluster; by default when any subcluster holds data.
    """

    bitmap: int
    fill: int = 0x33
    allocated: bool | None = None

    @property
    def owns_cluster(self) -> bool:
        """Return whether a host cluster belongs to this entry."""
        return bool(self.bitmap & ALL_SUBCLUSTERS) if self.allocated is None else self.allocated


Content = Data | ZeroPlain | ZeroAlloc | Compressed | Subclusters
GuestMap = Mapping[int, Content]


@dataclass(frozen=True)
class SnapshotSpec:
    """An internal snapshot (format section "Snapshots").

    ``content``: guest clusters that it has for itself. ``shared``: guest clusters that it has in
    common with the active layer ("all", or their indices; ``content`` wins). ``from_snapshot``:
    guest cluster -> position of the earlier snapshot whose own cluster it shares. An L2 table is
    shared whenever two layers agree about all of it, unless ``own_tables``.
    ``l1_size`` in entries, by default as many as disk size and content need.
    """

    id: str
    name: str
    content: GuestMap = field(default_factory=dict)
    shared: Literal["all"] | frozenset[int] = "all"
    from_snapshot: Mapping[int, int] = field(default_factory=dict)
    own_tables: bool = False
    l1_size: int | None = None
    vm_state_size: int = 0
    disk_size: int | None = None
    extra_length: int = 24
    icount: int = 0
    date_sec: int = 1_700_000_000
    date_nsec: int = 5
    vm_clock_nsec: int = 7


ALL_ONES: Literal["ones"] = "ones"


@dataclass(frozen=True)
class BitmapSpec:
    """A persistent bitmap: ``table`` maps entry number -> first bytes of its data cluster, or
    ``ALL_ONES`` (no cluster, all bits set); absent entries are all zeros without a cluster.

    ``entries`` is the table length, by default what the virtual size asks for.
    """

    name: str
    granularity_bits: int = 16
    flags: int = 2
    table: Mapping[int, bytes | Literal["ones"]] = field(default_factory=dict)
    entries: int | None = None
    type: int = 1


@dataclass(frozen=True)
class Layout:
    """Where things go in the host file. Keys of ``place`` are region keys, see ``build``.

    ``order`` arranges every region after the header: "native" as QEMU would, "reverse" or
    "shuffle" (by ``seed``). ``gap`` free clusters are left behind each region. ``place`` pins
    regions to host clusters. ``refcount_table_clusters`` is a minimum; ``refcount_blocks`` are
    table indices that get a block though nothing needs one.
    """

    order: Literal["native", "reverse", "shuffle"] = "native"
    seed: int = 0
    gap: int = 0
    place: Mapping[str, int] = field(default_factory=dict)
    refcount_table_clusters: int = 1
    refcount_blocks: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ImageSpec:
    """An image. Sizes in bytes, guest content by guest cluster index.

    Feature bits that follow from other fields are set by themselves; ``incompatible``,
    ``compatible`` and ``autoclear`` are or-ed to them. ``luks`` is the content of the region that
    the encryption header extension points to (with ``crypt_method`` 2). ``header_extra`` are
    unknown header fields behind byte 112. ``extensions`` are further (type, data) pairs.
    ``extra_l2`` names L1 indices that get a table even if it is empty. ``stream_alignment``
    is what compressed streams start on; 1-bit refcounts need "cluster".
    """

    version: int = 3
    cluster_bits: int = 16
    refcount_order: int = 4
    virtual_size: int = 64 << 20
    content: GuestMap = field(default_factory=dict)
    extended_l2: bool = False
    compression_type: int = 0
    stream_alignment: Literal["byte", "sector", "cluster"] = "byte"
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    crypt_method: int = 0
    luks: bytes | None = None
    data_file: str | None = None
    backing_name: str | None = None
    backing_format: str | None = None
    header_length: int = 112
    header_extra: bytes = b""
    feature_table: bool = False
    extensions: tuple[tuple[int, bytes], ...] = ()
    l1_size: int | None = None
    extra_l2: frozenset[int] = frozenset()
    snapshots: tuple[SnapshotSpec, ...] = ()
    bitmaps: tuple[BitmapSpec, ...] = ()
    layout: Layout = field(default_factory=Layout)

    def __post_init__(self) -> None:
        """Refuse what cannot be written at all; damage is made by poking, not by asking for it."""
        _require(self.version in (2, 3), "version is 2 or 3")
        _require(9 <= self.cluster_bits <= 21, "cluster_bits is 9..21")
        _require(0 <= self.refcount_order <= 6, "refcount_order is 0..6")
        _require(not self.extended_l2 or self.cluster_bits >= 14, "extended L2 needs 16 KiB")
        _require(self.compression_type in (0, 1), "compression_type is 0 or 1")
        _require(104 <= self.header_length <= 112, "header_length is 104..112")
        _require(not self.header_extra or self.header_length == 112, "extra fields follow 112")
        _require(self.header_length > 104 or not self.compression_type, "byte 104 is absent")
        _require((self.luks is not None) == (self.crypt_method == 2), "luks goes with method 2")
        for item in self.content.values():
            if isinstance(item, Data) and isinstance(item.content, bytes):
                _require(len(item.content) <= self.cluster_size, "data fits into its cluster")
        if self.version == 2:
            words = self.incompatible | self.compatible | self.autoclear
            others = self.extended_l2 or self.compression_type or self.data_file or self.bitmaps
            _require(not (words or others), "version 2 has no feature bits")
            _require(self.refcount_order == 4, "version 2 has 16-bit refcounts")

    @property
    def cluster_size(self) -> int:
        """Return the cluster size in bytes."""
        return 1 << self.cluster_bits

    @property
    def l2_entry_size(self) -> int:
        """Return the bytes of one L2 entry."""
        return 16 if self.extended_l2 else 8

    @property
    def l2_entries(self) -> int:
        """Return the entries of one L2 table."""
        return self.cluster_size // self.l2_entry_size

    @property
    def block_entries(self) -> int:
        """Return the refcounts of one refcount block."""
        return (self.cluster_size * 8) >> self.refcount_order

    def l1_entries_for(self, size: int) -> int:
        """Return the L1 entries that ``size`` guest bytes need."""
        return -(-size // (self.cluster_size * self.l2_entries))


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"not a writable image: {what}")
