"""What an image of the benchmark looks like, and the cases that are measured.

No numpy in this module: the runner imports it and must stay small (see `measure`).
"""

from dataclasses import dataclass
from enum import Enum

CLUSTER_SIZE = 65536
"""Bytes in a cluster of a generated image, unless its spec says otherwise."""

FULL_SIZE = 2 << 40
"""Bytes of the virtual disk for which the targets of the check cases are stated."""

GIB = 1 << 30
MIB = 1 << 20


class Order(Enum):
    """How guest clusters are laid out on the host."""

    PREALLOCATED = "preallocated"
    """Each L2 table is followed by its data clusters, in guest order."""
    RANDOM = "random"
    """All L2 tables, then the data clusters in pseudo-random order."""
    RUNS = "runs"
    """All L2 tables, then the data clusters in pseudo-randomly ordered runs of 64."""


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """One image with 16-bit refcounts, allocated from its start up to `size` bytes.

    The virtual size is `disk` bytes, or `size` where that is 0. Every one of `snapshots` has
    copies of its own of `own_share` (0 to 1) of the L2 tables, and shares the others with the
    active tree; all copies point to the same data clusters. Of these, `leaks` are counted but
    mapped by nobody, and `errors` have a stored refcount that is one too low (COPIED flags agree
    with the stored refcount, so that each is exactly one corruption to qemu-img).
    """

    size: int
    order: Order = Order.PREALLOCATED
    snapshots: int = 0
    own_share: float = 0.0
    leaks: int = 0
    errors: int = 0
    seed: int = 1
    cluster_size: int = CLUSTER_SIZE
    disk: int = 0

    def __post_init__(self) -> None:
        if self.cluster_size not in (1 << bits for bits in range(9, 22)):
            raise ValueError(f"cluster_size {self.cluster_size} is not a power of two in range")
        if self.size <= 0 or self.size % self.cluster_size:
            raise ValueError(f"size {self.size} is not a positive multiple of {self.cluster_size}")
        if not 0 <= self.own_share <= 1:
            raise ValueError(f"own_share {self.own_share} is not between 0 and 1")
        if not 0 <= self.snapshots < 65535:
            raise ValueError(f"{self.snapshots} snapshots do not fit 16-bit refcounts")
        if self.leaks + self.errors > self.data_clusters:
            raise ValueError("more planted leaks and errors than data clusters")

    @property
    def l2_entries(self) -> int:
        """Entries of an L2 table."""
        return self.cluster_size // 8

    @property
    def block_refcounts(self) -> int:
        """Refcounts of a refcount block."""
        return self.cluster_size // 2

    @property
    def data_clusters(self) -> int:
        """Guest clusters that are allocated (but for the leaked ones)."""
        return self.size // self.cluster_size

    @property
    def l2_tables(self) -> int:
        """L2 tables of the active tree."""
        return -(-self.data_clusters // self.l2_entries)

    @property
    def virtual_size(self) -> int:
        """Bytes of the virtual disk."""
        return max(self.size, self.disk)

    @property
    def l1_entries(self) -> int:
        """Entries of each L1 table."""
        return -(-self.virtual_size // (self.l2_entries * self.cluster_size))


CASES = {
    "A": "preallocated, 7 snapshots sharing all L2 tables",
    "B": "preallocated, no snapshot",
    "C": "data clusters in random order",
    "D": "data clusters in shuffled runs of 64",
    "D-damaged": "like D, with 1 leak and 1 error among 33 clusters (1 million each at 2 TiB)",
    "D-cold": "D outside of the page cache, which is emptied before each run",
    "D-repair": "repair of D-damaged: a million leaks and a million errors at 2 TiB",
    "E": "like D, 7 snapshots each with its own copy of 30 % of the L2 tables",
    "F": "dump of a preallocated 64 GiB image",
    "G": "check of a 40 MiB image, where starting costs most",
    "G-start": "commands that do without numpy, on a 40 MiB image",
    "A-page": "a page about A",
    "B-page": "a page about B",
    "C-page": "a page about C",
    "D-damaged-page": "a page about D-damaged",
    "E-page": "a page about E",
}

_PAGE = "-page"


def is_page(case: str) -> bool:
    """Whether a case makes a page of the report."""
    return case.endswith(_PAGE)


def image_of(case: str) -> str:
    """The case whose image a case uses."""
    others = {"D-cold": "D", "D-repair": "D-damaged", "G-start": "G"}
    return others.get(case, case.removesuffix(_PAGE))


def spec_of(case: str, size: int) -> ImageSpec:
    """The image of a case. `size` in bytes is the virtual size, which F and G fix themselves."""
    planted = size // CLUSTER_SIZE * 1_000_000 // (FULL_SIZE // CLUSTER_SIZE)
    return {
        "A": ImageSpec(size, snapshots=7),
        "B": ImageSpec(size),
        "C": ImageSpec(size, Order.RANDOM),
        "D": ImageSpec(size, Order.RUNS),
        "D-damaged": ImageSpec(size, Order.RUNS, leaks=planted, errors=planted),
        "E": ImageSpec(size, Order.RUNS, snapshots=7, own_share=0.3),
        "F": ImageSpec(64 * GIB),
        "G": ImageSpec(40 * MIB),
    }[image_of(case)]


def _mapped(size: int, **other: int) -> ImageSpec:
    return ImageSpec(size, Order.RUNS, **other)


CURVE = {
    "1 GiB": _mapped(GIB),
    "16 GiB": _mapped(16 * GIB),
    "128 GiB": _mapped(128 * GIB),
    "1 TiB": _mapped(1024 * GIB),
    "8 TiB": _mapped(8192 * GIB),
    "64 TiB, the first eighth mapped": _mapped(8192 * GIB, disk=65536 * GIB),
    "1 GiB, clusters of 512 bytes": _mapped(GIB, cluster_size=512),
    "16 GiB, clusters of 512 bytes": _mapped(16 * GIB, cluster_size=512),
}
"""Images that show how time and memory grow; in each, runs of 64 clusters are shuffled."""


def curve_up_to(size: int) -> dict[str, ImageSpec]:
    """The images of the curve with no more clusters than 16 disks of `size` bytes have."""
    most = 16 * size // CLUSTER_SIZE
    return {name: spec for name, spec in CURVE.items() if spec.data_clusters <= most}
