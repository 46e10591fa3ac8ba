"""What the guest reads, cluster by cluster, of the active layer and of each snapshot.

An independent reader for images that QEMU may refuse to open. It needs no key: an encrypted
cluster is known by its bytes, and with LUKS by where they are, as the key stream depends on it.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import zstandard

from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import COMPRESSED, COPIED, OFFSET_MASK
from tests.differential.repair_tables import Entries, Tables, Tree, Unreadable

FAILS = b"fails"
ZEROS = b"zeros"

Cluster = tuple[int, int]
"""Number of a tree, 0 for the active one, and of a guest cluster."""


@dataclass(frozen=True)
class Guest:
    """What a guest reads. `clusters` holds what is not as in an image without any entry.

    `failing` are tree and L1 index where each access fails; `l2_entries` tells which clusters
    these are. `names` are the IDs of the snapshots, in the order of the trees behind the active.
    """

    cluster_size: int
    l2_entries: int
    clusters: dict[Cluster, bytes]
    failing: frozenset[tuple[int, int]]
    names: tuple[bytes, ...]

    def at(self, cluster: Cluster) -> bytes:
        """What is read at a cluster; empty where it is as without any entry."""
        tree, number = cluster
        if (tree, number // self.l2_entries) in self.failing:
            return FAILS
        return self.clusters.get(cluster, b"")


NOTHING = Guest(0, 1, {}, frozenset(), ())
"""What is read of an image that nobody can read."""


def read_guest(path: Path) -> Guest:
    """Read an image and the data file beside it."""
    with ImageFile(path, writable=False) as image:
        try:
            tables = Tables(image)
        except Unreadable:
            return NOTHING
        beside = path.with_name("data.raw")
        if not (tables.data_file and beside.exists()):
            return Reader(tables, image).guest()
        with ImageFile(beside, writable=False) as data:
            return Reader(tables, data).guest()


class Reader:
    """Reads what the tables of one image lead to; `data` holds the guest's clusters."""

    def __init__(self, tables: Tables, data: ImageFile) -> None:
        self.tables = tables
        self.data = data
        self._known: dict[tuple[int, int], bytes] = {}

    def guest(self) -> Guest:
        """Everything that can be read."""
        clusters: dict[Cluster, bytes] = {}
        failing: set[tuple[int, int]] = set()
        for tree in self.tables.trees:
            failing |= {(tree.position, at) for at in self.tables.unreadable_tables(tree)}
            self._read_tree(tree, self.tables.entries(tree), clusters)
        return Guest(
            self.tables.cluster_size,
            self.tables.l2_entries,
            clusters,
            frozenset(failing),
            tuple(tree.ident or b"" for tree in self.tables.trees[1:]),
        )

    def _read_tree(self, tree: Tree, found: Entries, clusters: dict[Cluster, bytes]) -> None:
        rows = zip(found.guest.tolist(), found.value.tolist(), found.bitmap.tolist(), strict=True)
        for number, value, bitmap in rows:
            if self.tables.data_file and value & OFFSET_MASK not in (
                0,
                number * self.tables.cluster_size,
            ):
                clusters[tree.position, number] = FAILS
                continue
            key = value & ~COPIED if not self.tables.data_file else value
            if (key, bitmap) not in self._known:
                self._known[key, bitmap] = self._named(key, bitmap)
            if self._known[key, bitmap]:
                clusters[tree.position, number] = self._known[key, bitmap]

    def _named(self, value: int, bitmap: int) -> bytes:
        """A name for what an entry leads to, equal for equal content; empty for nothing."""
        content = self.content(value, bitmap)
        if content is None:
            return FAILS
        # Zeros on the disk of an encrypted image are not zeros to the guest.
        stored = self.tables.crypt_method != 0 and value & OFFSET_MASK and not value & 1
        if not any(content) and not stored:
            return ZEROS if self.tables.backed else b""
        if content == BELOW * (len(content) // len(BELOW)):
            return b""
        place = value.to_bytes(8, "big") if self.tables.crypt_method == 2 else b""
        return hashlib.blake2b(place + content, digest_size=16).digest()

    def content(self, value: int, bitmap: int) -> bytes | None:
        """The bytes of a cluster, those of the backing file as `BELOW`; None if it fails."""
        tables = self.tables
        size, host = tables.cluster_size, value & OFFSET_MASK
        if value & COMPRESSED:
            return None if tables.data_file else self._decompressed(value)
        if host % size:
            return None
        below = BELOW if tables.backed else bytes(len(BELOW))
        mapped = host != 0 or (tables.data_file and value & COPIED != 0)
        if tables.extended:
            return self._subclusters(host if mapped else None, bitmap, below)
        if value & 1:
            return bytes(size) if tables.version >= 3 else None
        return self.data.read(host, size) if mapped else below * (size // len(below))

    def _subclusters(self, host: int | None, bitmap: int, below: bytes) -> bytes | None:
        allocated, zero = bitmap & 0xFFFF_FFFF, bitmap >> 32
        if allocated & zero or (allocated and host is None):
            return None
        step = self.tables.cluster_size // 32
        parts = []
        for number in range(32):
            if allocated >> number & 1 and host is not None:
                parts.append(self.data.read(host + number * step, step))
            else:
                filler = bytes(len(below)) if zero >> number & 1 else below
                parts.append(filler * (step // len(below)))
        return b"".join(parts)

    def _decompressed(self, value: int) -> bytes | None:
        offset, length = self.tables.compressed_extent(value)
        if offset >= self.data.length:
            return None
        stream, size = self.data.read(offset, length), self.tables.cluster_size
        try:
            if self.tables.zstd:
                result = zstandard.ZstdDecompressor().decompressobj().decompress(stream)
            else:
                result = zlib.decompressobj(-12).decompress(stream, size)
        except (zlib.error, zstandard.ZstdError):
            return None
        return result[:size] if len(result) >= size else None


BELOW = b"\xb5of the backing\n"
"""Stands for 16 bytes of the backing file."""


@dataclass(frozen=True)
class Share:
    """How much of a guest's disk is as it was.

    `kept` are the clusters of the undamaged image that read the same, out of so many; `wrong` is
    how many read otherwise, those included where nothing was. `snapshots` is how many of them are
    still there.
    """

    kept: frozenset[Cluster]
    of: int
    wrong: int
    snapshots: int = 0

    @property
    def percent(self) -> float:
        """The part that is kept."""
        return 100 * len(self.kept) / self.of if self.of else 100.0


def share(before: Guest, after: Guest) -> Share:
    """Compare the guest of an image with that of the undamaged one, over all trees."""
    if after.cluster_size != before.cluster_size:
        every = len(before.clusters)
        return Share(frozenset(), every, every, min(len(before.names), len(after.names)))
    matching = _matching_trees(before, after)
    kept = frozenset(
        (tree, number)
        for (tree, number), content in before.clusters.items()
        if tree in matching and after.at((matching[tree], number)) == content
    )
    back = {found: tree for tree, found in matching.items()}
    extra = sum(
        tree in back and (back[tree], number) not in before.clusters
        for tree, number in after.clusters
    )
    wrong = len(before.clusters) - len(kept) + extra
    return Share(kept, len(before.clusters), wrong, min(len(before.names), len(after.names)))


def _matching_trees(before: Guest, after: Guest) -> dict[int, int]:
    """Which tree of one is which of the other: by ID, then by position."""
    found = {0: 0}
    left = dict(enumerate(after.names, 1))
    unnamed = []
    for position, name in enumerate(before.names, 1):
        same = [at for at, other in left.items() if other == name]
        if same:
            at = position if position in same else same[0]
            found[position] = at
            del left[at]
        else:
            unnamed.append(position)
    for position in unnamed:
        if position in left:
            found[position] = position
            del left[position]
    return found
