"""The finished image: its bytes, the place of everything in it, and ways to damage it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.builder.contents import write_guest
from tests.builder.layers import Resolved
from tests.builder.packing import pack_refcount, unpack_refcount
from tests.builder.sparse import SparseBytes
from tests.builder.spec import ImageSpec


@dataclass(frozen=True)
class LayerPlaces:
    """Host byte offsets of one layer. An L2 table may belong to several layers.

    ``l2``: by L1 index. ``data``: by guest cluster, whatever owns or shares a host cluster; for a
    compressed one the first byte of its stream, in a data file the offset there.
    """

    l1: int
    l1_size: int
    l2: Mapping[int, int]
    data: Mapping[int, int]


@dataclass(frozen=True)
class BitmapPlaces:
    """Host byte offsets of one bitmap: directory entry, table, data clusters by table entry."""

    record: int
    table: int
    data: Mapping[int, int]


@dataclass(frozen=True)
class Places:
    """Host byte offsets of everything; 0 for what the image does not have.

    ``extensions``: the head of each header extension by type. ``refcount_blocks``: by refcount
    table index. ``refcounts``: the count of each used host cluster as built.
    """

    extensions: Mapping[int, int]
    refcount_table: int
    refcount_table_clusters: int
    refcount_blocks: Mapping[int, int]
    snapshot_table: int
    snapshot_table_length: int
    snapshot_records: tuple[int, ...]
    luks: int
    bitmap_directory: int
    bitmap_directory_length: int
    bitmaps: tuple[BitmapPlaces, ...]
    layers: tuple[LayerPlaces, ...]
    refcounts: Mapping[int, int]


@dataclass
class BuiltImage:
    """A built image. ``data`` is the qcow2 file, ``data_file`` the external one if there is one."""

    spec: ImageSpec
    data: SparseBytes
    places: Places
    resolved: Resolved = field(repr=False)
    data_file: SparseBytes | None = None

    @property
    def active(self) -> LayerPlaces:
        """Return the places of the active layer."""
        return self.places.layers[0]

    @property
    def snapshots(self) -> tuple[LayerPlaces, ...]:
        """Return the places of the snapshots, in table order."""
        return self.places.layers[1:]

    def peek(self, offset: int, width: int = 8) -> int:
        """Return the big-endian integer of ``width`` bytes at byte ``offset``."""
        return int.from_bytes(self.data.read(offset, width), "big")

    def poke(self, offset: int, value: int, width: int = 8) -> None:
        """Store a big-endian integer of ``width`` bytes at byte ``offset``."""
        self.data.write(offset, value.to_bytes(width, "big"))

    def l1_entry_offset(self, l1_index: int, layer: int = 0) -> int:
        """Return where an L1 entry is; layer 0 is the active one, k the snapshot k - 1."""
        return self.places.layers[layer].l1 + 8 * l1_index

    def l2_entry_offset(self, l1_index: int, l2_index: int, layer: int = 0) -> int:
        """Return where an L2 entry is; KeyError when the layer has no such table."""
        return self.places.layers[layer].l2[l1_index] + self.spec.l2_entry_size * l2_index

    def set_l1(self, l1_index: int, raw: int, layer: int = 0) -> None:
        """Store a raw L1 entry."""
        self.poke(self.l1_entry_offset(l1_index, layer), raw)

    def set_l2(self, l1_index: int, l2_index: int, raw: int, layer: int = 0) -> None:
        """Store the first (or only) word of an L2 entry."""
        self.poke(self.l2_entry_offset(l1_index, l2_index, layer), raw)

    def set_subclusters(self, l1_index: int, l2_index: int, bitmap: int, layer: int = 0) -> None:
        """Store the bitmap of an extended L2 entry."""
        self.poke(self.l2_entry_offset(l1_index, l2_index, layer) + 8, bitmap)

    def refcount(self, cluster: int) -> int:
        """Return the refcount on disk of a host cluster; KeyError when no block covers it."""
        block, index = divmod(cluster, self.spec.block_entries)
        stored = self.data.read(self.places.refcount_blocks[block], self.spec.cluster_size)
        return unpack_refcount(stored, self.spec.refcount_order, index)

    def set_refcount(self, cluster: int, value: int) -> None:
        """Store the refcount of a host cluster; KeyError when no block covers it."""
        number, index = divmod(cluster, self.spec.block_entries)
        offset = self.places.refcount_blocks[number]
        block = bytearray(self.data.read(offset, self.spec.cluster_size))
        pack_refcount(block, self.spec.refcount_order, index, value)
        self.data.write(offset, bytes(block))

    def truncate(self, length: int) -> None:
        """Make the file ``length`` bytes long."""
        self.data.truncate(length)

    def write_to(self, path: Path) -> Path:
        """Write the image sparsely (and its data file beside it); return ``path``."""
        self.data.write_to(path)
        if self.data_file is not None and self.spec.data_file is not None:
            self.data_file.write_to(path.with_name(self.spec.data_file))
        return path

    def guest(self, layer: int = 0, backing: SparseBytes | None = None) -> SparseBytes:
        """Return what a guest reads of a layer as built, over the guest view of a backing file.

        The length is the virtual size of that layer in bytes; VM state is left out.
        """
        size = self.spec.virtual_size
        if layer:
            wanted = self.spec.snapshots[layer - 1].disk_size
            size = size if wanted is None else wanted
        view = SparseBytes() if backing is None else backing.copy()
        view.truncate(size)
        for cluster, owner in self.resolved.layers[layer].mapping.items():
            offset = cluster * self.spec.cluster_size
            if offset < size:
                item = self.resolved.content[owner]
                write_guest(view, offset, item, self.spec.cluster_size)
        view.truncate(size)
        return view
