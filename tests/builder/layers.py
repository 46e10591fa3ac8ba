"""Who shares what: the active layer and the snapshots, resolved to L2 tables and their owners."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.builder.spec import Content, ImageSpec, SnapshotSpec

# (layer number, guest cluster) of the layer that a guest cluster's storage belongs to;
# layer 0 is the active one, layer k the snapshot at position k - 1.
Owner = tuple[int, int]


@dataclass(frozen=True)
class Table:
    """One L2 table: its region key, and the owner of each filled entry by L2 index."""

    key: str
    l1_index: int
    entries: Mapping[int, Owner]


@dataclass(frozen=True)
class Layer:
    """One L1 table: entries in total, and the key of the L2 table at each used L1 index."""

    number: int
    l1_size: int
    mapping: Mapping[int, Owner]
    tables: Mapping[int, str]


@dataclass(frozen=True)
class Resolved:
    """All layers, the active one first, with the tables they use and the content they own."""

    layers: tuple[Layer, ...]
    tables: Mapping[str, Table]
    content: Mapping[Owner, Content]


def prefix(layer: int) -> str:
    """Return what the region keys of a layer begin with: nothing for the active one."""
    return "" if layer == 0 else f"snapshot/{layer - 1}/"


def resolve(spec: ImageSpec) -> Resolved:
    """Work out the layers of ``spec``; ValueError when an L1 is too short for its content."""
    mappings = _mappings(spec)
    content = {(0, guest): item for guest, item in spec.content.items()}
    for number, snapshot in enumerate(spec.snapshots, 1):
        content |= {(number, guest): item for guest, item in snapshot.content.items()}
    tables: dict[str, Table] = {}
    known: dict[object, str] = {}
    layers = []
    for number, mapping in enumerate(mappings):
        snapshot_or_none = spec.snapshots[number - 1] if number else None
        own = snapshot_or_none is not None and snapshot_or_none.own_tables
        used: dict[int, str] = {}
        for l1_index, entries in _by_table(spec, mapping, number).items():
            identity = (l1_index, tuple(sorted(entries.items())), number if own else None)
            key = known.setdefault(identity, f"{prefix(number)}l2/{l1_index}")
            tables.setdefault(key, Table(key, l1_index, entries))
            used[l1_index] = key
        layers.append(Layer(number, _l1_size(spec, snapshot_or_none, used), mapping, used))
    return Resolved(tuple(layers), tables, content)


def _mappings(spec: ImageSpec) -> list[dict[int, Owner]]:
    active: dict[int, Owner] = {guest: (0, guest) for guest in spec.content}
    mappings = [active]
    for number, snapshot in enumerate(spec.snapshots, 1):
        shared = active.keys() if snapshot.shared == "all" else snapshot.shared
        mapping = {guest: active[guest] for guest in shared}
        for guest, position in snapshot.from_snapshot.items():
            mapping[guest] = mappings[position + 1][guest]
        mapping |= {guest: (number, guest) for guest in snapshot.content}
        mappings.append(mapping)
    return mappings


def _by_table(
    spec: ImageSpec, mapping: Mapping[int, Owner], number: int
) -> dict[int, dict[int, Owner]]:
    found: dict[int, dict[int, Owner]] = {}
    if number == 0:
        found = {l1_index: {} for l1_index in spec.extra_l2}
    for guest in sorted(mapping):
        l1_index, l2_index = divmod(guest, spec.l2_entries)
        found.setdefault(l1_index, {})[l2_index] = mapping[guest]
    return dict(sorted(found.items()))


def _l1_size(spec: ImageSpec, snapshot: SnapshotSpec | None, used: Mapping[int, str]) -> int:
    size, wanted = spec.virtual_size, spec.l1_size
    if snapshot is not None:
        wanted = snapshot.l1_size
        size = spec.virtual_size if snapshot.disk_size is None else snapshot.disk_size
    filled = max(used, default=-1) + 1
    if wanted is None:
        return max(filled, spec.l1_entries_for(size))
    if wanted < filled:
        raise ValueError(f"an L1 of {wanted} entries cannot hold {filled}")
    return wanted
