"""A new snapshot table in a fresh place, and the one header write that switches to it.

Records are bytes here: those that nothing is to be done about stay as they are, however damaged.
"""

from collections.abc import Container, Mapping

from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.image.image import Image
from qcow2_dump.image.tables import SnapshotEntry, SnapshotTable
from qcow2_dump.ondisk.constants import MAX_SNAPSHOT_EXTRA, MAX_SNAPSHOT_TABLE_BYTES
from qcow2_dump.ondisk.snapshots import SnapshotRecord
from qcow2_dump.plan.model import Field
from qcow2_dump.planners.allocator import Allocator
from qcow2_dump.planners.checked import Checked
from qcow2_dump.planners.draft import Draft, Stage
from qcow2_dump.planners.fields.header_fields import put_header_fields

__all__ = [
    "packed_records",
    "put_snapshot_table",
    "refuse_unreadable",
    "replaced_snapshot_table",
    "with_full_extra_data",
]

_EXTRA = 24
"""Bytes of extra data that QEMU writes: VM state size, disk size, instruction count."""

_NO_ICOUNT = 2**64 - 1

# With these it is open whether the header leads to a snapshot table at all.
_NO_TABLE = ("snapshot.table", "snapshot.record", "snapshot.l1-table", "cluster.shared")


def refuse_unreadable(table: SnapshotTable, *, given_up: Container[int] = ()) -> None:
    """Raise UnsafePlanError when records would be lost that are only not readable.

    Those from position ``len(table.entries)`` on are, and nobody can tell where they start:
    giving up the first of them gives up all.
    """
    first = len(table.entries)
    if table.dropped and first not in given_up:
        what = "1 snapshot record" if table.dropped == 1 else f"{table.dropped:,} snapshot records"
        raise UnsafePlanError(
            f"{what} from position {first} on cannot be read, and a new snapshot table would lose "
            f"{'it' if table.dropped == 1 else 'them'}: put the number of snapshots in the header "
            "right, or drop what cannot be read first"
        )


def packed_records(
    image: Image, *, left_out: Container[int] = (), changed: Mapping[int, SnapshotRecord]
) -> list[bytes]:
    """The records of a table as bytes, by position: some left out, some as others.

    Raises SourceError when a record cannot be read.
    """
    return [
        changed[entry.position].pack() if entry.position in changed else _as_found(image, entry)
        for entry in image.snapshot_table.entries
        if entry.position not in left_out
    ]


def put_snapshot_table(
    draft: Draft,
    allocator: Allocator,
    records: list[bytes],
    header: Mapping[str, int],
    *,
    without: frozenset[str] = frozenset(),
) -> None:
    """Have a table of these records written to fresh clusters, and the header switched to it.

    ``header`` are fields of the header to be switched in the same write. Without records there
    is no table. ``without`` is as in `Allocator.allocate`. Raises UnsafePlanError where it finds no
    room, or is longer than QEMU reads.
    """
    table = b"".join(records)
    if len(table) > MAX_SNAPSHOT_TABLE_BYTES:
        raise UnsafePlanError(
            f"the new snapshot table would have {len(table):,} bytes, QEMU reads at most "
            f"{MAX_SNAPSHOT_TABLE_BYTES:,}"
        )
    offset = 0
    if table:
        clusters = draft.image.geometry.clusters(len(table))
        offset = allocator.allocate(clusters, without=without)
        field = Field("snapshot_table", offset, unit_bits=0)
        draft.put(Stage.NEW, offset, table, field, "snapshot.table-new")
    fields = {**header, "nb_snapshots": len(records), "snapshots_offset": offset}
    put_header_fields(draft, Stage.SWITCH, fields, "snapshot.switch")


def with_full_extra_data(
    record: SnapshotRecord, *, vm_state_size: int, disk_size: int
) -> SnapshotRecord:
    """A record with the extra data that QEMU writes.

    Unknown data behind it is kept, as much of it as QEMU takes. Sizes in bytes.
    """
    icount = _NO_ICOUNT if record.icount is None else record.icount
    known = b"".join(value.to_bytes(8, "big") for value in (vm_state_size, disk_size, icount))
    return record.with_extra_data(known + record.extra_data[_EXTRA:MAX_SNAPSHOT_EXTRA])


def _as_found(image: Image, entry: SnapshotEntry) -> bytes:
    length = entry.record.length + 7 & ~7
    return image.source.read(entry.offset, length)


def replaced_snapshot_table(draft: Draft, found: Checked) -> set[int]:
    """The clusters of the old table, where the draft has another and nobody can miss them.

    It certainly was a table, or there are only zeros.
    """
    table, space = found.image.snapshot_table, found.facts.space
    unchanged = draft.drafted().header.snapshots_offset == table.offset
    if unchanged or not table.entries or space.is_beyond(table.offset, table.length):
        return set()
    clusters = range(*space.span(table.offset, table.length))
    if found.has(*_NO_TABLE):
        size = space.cluster_size
        return {c for c in clusters if not any(found.image.source.read(c * size, size))}
    return set(clusters)
