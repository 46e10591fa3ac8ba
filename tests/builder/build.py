"""From a spec to an image: place everything, count the references, write the structures.

Region keys, for ``Layout.place`` and error messages: ``rt``, ``rb/<table index>``, ``l1``,
``l2/<L1 index>``, ``data/<guest cluster>``, ``streams`` (all compressed streams of a layer);
the last four again behind ``snapshot/<position>/``; ``snapshots`` (their table), ``luks``,
``bitmaps`` (their directory), ``bitmap/<position>/table``, ``bitmap/<position>/data/<entry>``.
"""

from collections import Counter
from collections.abc import Iterator

from tests.builder import packing
from tests.builder.built import BitmapPlaces, BuiltImage, LayerPlaces, Places
from tests.builder.contents import (
    Stream,
    owns_cluster,
    pack_streams,
    write_guest,
    write_host,
)
from tests.builder.layers import Layer, Owner, Resolved, Table, prefix, resolve
from tests.builder.placement import Placement, Region, place_regions
from tests.builder.sparse import SparseBytes
from tests.builder.spec import (
    ALL_SUBCLUSTERS,
    ALL_ZERO_SUBCLUSTERS,
    NO_SUBCLUSTERS,
    BitmapSpec,
    Compressed,
    ImageSpec,
    Subclusters,
    ZeroAlloc,
    ZeroPlain,
)


def build(spec: ImageSpec) -> BuiltImage:
    """Build a sound image: every refcount and COPIED flag is right.

    ValueError when a refcount does not fit its width, or a structure its place.
    """
    return _Builder(spec).run()


class _Builder:
    """One build; the methods run in the order in which they stand."""

    def __init__(self, spec: ImageSpec) -> None:
        self.spec = spec
        self.resolved: Resolved = resolve(spec)
        self.streams: dict[Owner, Stream] = {}
        self.regions = list(self._list_regions())
        self.placement: Placement = place_regions(spec, self.regions)
        self.refcounts: Counter[int] = Counter()
        self.image = SparseBytes(self.placement.end * spec.cluster_size)
        self.data_file = None if spec.data_file is None else SparseBytes(spec.virtual_size)

    def run(self) -> BuiltImage:
        """Count, write and describe."""
        self._count_references()
        self._write_contents()
        for table in self.resolved.tables.values():
            self._write_l2(table)
        for layer in self.resolved.layers:
            self._write_l1(layer)
        if self.spec.luks is not None:
            self.image.write(self._offset("luks"), self.spec.luks)
        self._write_refcounts()
        return BuiltImage(self.spec, self.image, self._write_roots(), self.resolved, self.data_file)

    # -- what needs room ------------------------------------------------------------------

    def _list_regions(self) -> Iterator[Region]:
        for layer in self.resolved.layers:
            yield from self._layer_regions(layer)
        if self.spec.snapshots:
            yield self._region("snapshots", len(self._pack_snapshots([0] * 65536)[0]))
        if self.spec.luks is not None:
            yield self._region("luks", len(self.spec.luks))
        if self.spec.bitmaps:
            yield self._region("bitmaps", len(self._pack_bitmaps([0] * 65536)[0]))
        for number, bitmap in enumerate(self.spec.bitmaps):
            yield self._region(f"bitmap/{number}/table", 8 * self._bitmap_entries(bitmap))
            for entry, content in bitmap.table.items():
                if content != "ones":
                    yield Region(f"bitmap/{number}/data/{entry}", 1)

    def _layer_regions(self, layer: Layer) -> Iterator[Region]:
        start = prefix(layer.number)
        if layer.l1_size:
            yield self._region(f"{start}l1", 8 * layer.l1_size)
        for key in layer.tables.values():
            if key.startswith(f"{start}l2/"):
                yield Region(key, 1, per_layer=True)
        owned = {o: item for o, item in self.resolved.content.items() if o[0] == layer.number}
        if self.spec.data_file is None:
            for _, guest in sorted(o for o, item in owned.items() if owns_cluster(item)):
                yield Region(f"{start}data/{guest}", 1, per_layer=True)
        compressed = {o: item for o, item in owned.items() if isinstance(item, Compressed)}
        if compressed:
            streams, length = pack_streams(self.spec, compressed)
            self.streams |= streams
            yield self._region(f"{start}streams", length, per_layer=True)

    def _region(self, key: str, length: int, per_layer: bool = False) -> Region:
        return Region(key, -(-length // self.spec.cluster_size), per_layer)

    def _bitmap_entries(self, bitmap: BitmapSpec) -> int:
        if bitmap.entries is not None:
            return bitmap.entries
        bits = -(-self.spec.virtual_size // (1 << bitmap.granularity_bits))
        data_bytes = -(-bits // 8)
        return -(-data_bytes // self.spec.cluster_size)

    # -- where it is ----------------------------------------------------------------------

    def _offset(self, key: str) -> int:
        """Return a region's host byte offset, 0 when the image does not have it."""
        return self.placement.start.get(key, 0) * self.spec.cluster_size

    def _host_range(self, owner: Owner) -> tuple[int, int] | None:
        """Return the (offset, length) in bytes that a mapping of this owner refers to."""
        item = self.resolved.content[owner]
        if owner in self.streams:
            stream = self.streams[owner]
            offset = self._offset(f"{prefix(owner[0])}streams") + stream.position
            return offset, 512 * (stream.sectors + 1) - offset % 512
        if not owns_cluster(item):
            return None
        size = self.spec.cluster_size
        if self.data_file is not None:
            return owner[1] * size, size
        return self._offset(f"{prefix(owner[0])}data/{owner[1]}"), size

    def _in_data_file(self, owner: Owner) -> bool:
        return self.data_file is not None and owner not in self.streams

    # -- references -----------------------------------------------------------------------

    def _count_references(self) -> None:
        """Count every reference: whole regions once, tables and clusters once per layer."""
        self.refcounts[0] += 1
        for region in self.placement.regions:
            if not region.per_layer:
                first = self.placement.start[region.key]
                self.refcounts.update(range(first, first + region.clusters))
        for layer in self.resolved.layers:
            for key in layer.tables.values():
                self.refcounts[self.placement.start[key]] += 1
            for owner in layer.mapping.values():
                host = self._host_range(owner)
                if host is not None and not self._in_data_file(owner):
                    size = self.spec.cluster_size
                    first, last = host[0] // size, (host[0] + host[1] - 1) // size
                    self.refcounts.update(range(first, last + 1))

    def _copied(self, offset: int, in_data_file: bool = False) -> int:
        once = in_data_file or self.refcounts[offset // self.spec.cluster_size] == 1
        return packing.COPIED if once else 0

    # -- contents and tables --------------------------------------------------------------

    def _write_contents(self) -> None:
        size = self.spec.cluster_size
        for owner, item in self.resolved.content.items():
            host = self._host_range(owner)
            if self.data_file is not None and not isinstance(item, Compressed):
                write_guest(self.data_file, owner[1] * size, item, size)
            elif owner in self.streams and host is not None:
                self.image.write(host[0], self.streams[owner].data)
            elif host is not None:
                write_host(self.image, host[0], item, size)

    def _write_l2(self, table: Table) -> None:
        at = self._offset(table.key)
        for l2_index, owner in table.entries.items():
            entry, subclusters = self._l2_entry(owner, active=table.key.startswith("l2/"))
            where = at + l2_index * self.spec.l2_entry_size
            self.image.write(where, entry.to_bytes(8, "big"))
            if self.spec.extended_l2:
                self.image.write(where + 8, subclusters.to_bytes(8, "big"))

    def _l2_entry(self, owner: Owner, active: bool) -> tuple[int, int]:
        """Return the entry and its bitmap; a snapshot's own tables carry no COPIED flags."""
        item = self.resolved.content[owner]
        host = self._host_range(owner)
        if owner in self.streams and host is not None:
            sectors = self.streams[owner].sectors
            return packing.compressed_entry(self.spec.cluster_bits, host[0], sectors), 0
        entry = 0
        if host is not None:
            external = self._in_data_file(owner)
            entry = host[0] | (self._copied(host[0], external) if active or external else 0)
        if isinstance(item, Subclusters):
            return entry, item.bitmap
        if isinstance(item, ZeroPlain | ZeroAlloc):
            return entry | (0 if self.spec.extended_l2 else packing.ZERO_FLAG), ALL_ZERO_SUBCLUSTERS
        return entry, ALL_SUBCLUSTERS if host is not None else NO_SUBCLUSTERS

    def _write_l1(self, layer: Layer) -> None:
        """Write an L1; a snapshot's keeps COPIED as it was before, which means nothing there."""
        at = self._offset(f"{prefix(layer.number)}l1")
        for l1_index, key in layer.tables.items():
            offset = self._offset(key)
            entry = offset | (packing.COPIED if layer.number else self._copied(offset))
            self.image.write(at + 8 * l1_index, entry.to_bytes(8, "big"))

    def _write_refcounts(self) -> None:
        size, per = self.spec.cluster_size, self.spec.block_entries
        blocks = {number: bytearray(size) for number in self.placement.blocks}
        for cluster, count in self.refcounts.items():
            number, index = divmod(cluster, per)
            packing.pack_refcount(blocks[number], self.spec.refcount_order, index, count)
        for number, block in blocks.items():
            at = self._offset(f"rb/{number}")
            self.image.write(at, bytes(block))
            self.image.write(self._offset("rt") + 8 * number, at.to_bytes(8, "big"))

    # -- what the header leads to ---------------------------------------------------------

    def _pack_snapshots(self, l1_offsets: list[int]) -> tuple[bytes, list[int]]:
        sizes = [layer.l1_size for layer in self.resolved.layers[1:]]
        triples = zip(self.spec.snapshots, l1_offsets, sizes, strict=False)
        records = [packing.pack_snapshot(self.spec, *triple) for triple in triples]
        return packing.pack_records(records)

    def _pack_bitmaps(self, tables: list[int]) -> tuple[bytes, list[int]]:
        pairs = zip(self.spec.bitmaps, tables, strict=False)
        return packing.pack_records(
            [packing.pack_bitmap(bitmap, at, self._bitmap_entries(bitmap)) for bitmap, at in pairs]
        )

    def _write_bitmap(self, number: int, bitmap: BitmapSpec, record: int) -> BitmapPlaces:
        table = self._offset(f"bitmap/{number}/table")
        data: dict[int, int] = {}
        for entry, content in bitmap.table.items():
            raw = 1
            if content != "ones":
                raw = data[entry] = self._offset(f"bitmap/{number}/data/{entry}")
                self.image.write(raw, content)
            self.image.write(table + 8 * entry, raw.to_bytes(8, "big"))
        return BitmapPlaces(record, table, data)

    def _write_roots(self) -> Places:
        """Write snapshot table, bitmap directory and header; return where everything is."""
        layers = tuple(self._layer_places(layer) for layer in self.resolved.layers)
        snapshots, records = self._pack_snapshots([layer.l1 for layer in layers[1:]])
        self.image.write(self._offset("snapshots"), snapshots)
        tables = [self._offset(f"bitmap/{n}/table") for n in range(len(self.spec.bitmaps))]
        directory, starts = self._pack_bitmaps(tables)
        at = self._offset("bitmaps")
        self.image.write(at, directory)
        bitmaps = tuple(
            self._write_bitmap(number, bitmap, at + start)
            for number, (bitmap, start) in enumerate(zip(self.spec.bitmaps, starts, strict=True))
        )
        return Places(
            extensions=self._write_header(layers[0], len(directory)),
            refcount_table=self._offset("rt"),
            refcount_table_clusters=self.placement.table_clusters,
            refcount_blocks={n: self._offset(f"rb/{n}") for n in self.placement.blocks},
            snapshot_table=self._offset("snapshots"),
            snapshot_table_length=len(snapshots),
            snapshot_records=tuple(self._offset("snapshots") + start for start in records),
            luks=self._offset("luks"),
            bitmap_directory=at,
            bitmap_directory_length=len(directory),
            bitmaps=bitmaps,
            layers=layers,
            refcounts=dict(self.refcounts),
        )

    def _layer_places(self, layer: Layer) -> LayerPlaces:
        hosts = {guest: self._host_range(owner) for guest, owner in layer.mapping.items()}
        return LayerPlaces(
            l1=self._offset(f"{prefix(layer.number)}l1"),
            l1_size=layer.l1_size,
            l2={l1_index: self._offset(key) for l1_index, key in layer.tables.items()},
            data={guest: host[0] for guest, host in hosts.items() if host is not None},
        )

    def _write_header(self, active: LayerPlaces, directory_length: int) -> dict[int, int]:
        places = packing.HeaderPlaces(
            l1_offset=active.l1,
            l1_size=active.l1_size,
            refcount_table_offset=self._offset("rt"),
            refcount_table_clusters=self.placement.table_clusters,
            snapshots_offset=self._offset("snapshots"),
            luks_offset=self._offset("luks"),
            bitmap_directory_offset=self._offset("bitmaps"),
            bitmap_directory_size=directory_length,
        )
        header, extensions = packing.pack_header_cluster(self.spec, places)
        self.image.write(0, header)
        return extensions
