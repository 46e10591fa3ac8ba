"""What an image of the benchmark looks like, and the cases that are measured.

No numpy in this module: the runner imports it and must stay small (see `measure`).
"""

from dataclasses import dataclass
from enum import Enum

CLUSTER_SIZE = 65536
"""Bytes in a cluster of every generated image."""

ENTRIES_PER_L2 = CLUSTER_SIZE // 8

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
    """One fully allocated image with 64 KiB clusters and 16-bit refcounts.

    `size` is the virtual size in bytes. Every one of `snapshots` has copies of its own of
    `own_share` (0 to 1) of the L2 tables, and shares the others with the active tree; all
    copies point to the same data clusters. Of the data clusters, `leaks` are counted but
    mapped by nobody, and `errors` have a stored refcount that is one too low (COPIED flags
    agree with the stored refcount, so that each is exactly one corruption to qemu-img).
    """

    size: int
    order: Order = Order.PREALLOCATED
    snapshots: int = 0
    own_share: float = 0.0
    leaks: int = 0
    errors: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.size <= 0 or self.size % CLUSTER_SIZE:
            raise ValueError(f"size {self.size} is not a positive multiple of {CLUSTER_SIZE}")
        if not 0 <= self.own_share <= 1:
            raise ValueError(f"own_share {self.own_share} is not between 0 and 1")
        if not 0 <= self.snapshots < 65535:
            raise ValueError(f"{self.snapshots} snapshots do not fit 16-bit refcounts")
        if self.leaks + self.errors > self.data_clusters:
            raise ValueError("more planted leaks and errors than data clusters")

    @property
    def data_clusters(self) -> int:
        """Guest clusters, every one of them allocated (but for the leaked ones)."""
        return self.size // CLUSTER_SIZE

    @property
    def l2_tables(self) -> int:
        """L2 tables of the active tree, which are also the entries of each L1."""
        return -(-self.data_clusters // ENTRIES_PER_L2)


CASES = {
    "A": "preallocated, 7 snapshots sharing all L2 tables",
    "B": "preallocated, no snapshot",
    "C": "data clusters in random order",
    "D": "data clusters in shuffled runs of 64",
    "D-damaged": "like D, with 1 leak and 1 error among 33 clusters (1 million each at 2 TiB)",
    "E": "like D, 7 snapshots each with its own copy of 30 % of the L2 tables",
    "F": "dump of a preallocated 64 GiB image",
    "G": "check of a 40 MiB image, where starting costs most",
    "G-start": "commands that do without numpy, on a 40 MiB image",
}


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
        "G-start": ImageSpec(40 * MIB),
    }[case]
