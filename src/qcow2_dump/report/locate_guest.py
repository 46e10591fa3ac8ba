"""Where a guest offset lies: in words for people, and as a JSON document."""

from collections.abc import Iterator
from typing import Literal, TypedDict

from qcow2_dump.image.image import Image
from qcow2_dump.image.location import GuestLocation, TreesAlike
from qcow2_dump.image.lookup import Lookup
from qcow2_dump.image.refcount_lookup import StoredRefcount
from qcow2_dump.ondisk.mapping import ClusterType, L2Entry
from qcow2_dump.report.document import TreeNames
from qcow2_dump.report.escape import plain, printable, quoted
from qcow2_dump.report.mapping_words import PROBLEM_WORDS, TYPE_NAMES, flag_names, problem_name
from qcow2_dump.report.places import Trees
from qcow2_dump.report.style import Style
from qcow2_dump.report.units import size

__all__ = ["GuestDocument", "guest_document", "guest_text"]


class Entry(TypedDict):
    """A table entry: its index, its file offset, what it holds and its flags by name."""

    index: int
    offset: int
    raw: int
    flags: list[str]


class HostCluster(TypedDict):
    """A host cluster that holds the guest cluster, and its stored refcount if that is readable."""

    cluster: int
    refcount: int | None


class Mapping(TypedDict):
    """How some trees map the offset; the L1 entry is that of the first of them.

    ``host_offset`` and ``host_length`` are those of the cluster, or of a compressed stream;
    ``byte_offset`` is where the very byte lies. ``subclusters`` is the bitmap of an extended entry.
    """

    trees: TreeNames
    l1_entry: Entry | None
    l2_table: int | None
    l2_table_refcount: int | None
    l2_entry: Entry | None
    subclusters: int | None
    subcluster: int | None
    type: str
    host_offset: int | None
    host_length: int | None
    byte_offset: int | None
    host_clusters: list[HostCluster]
    problem: str | None


class GuestDocument(TypedDict):
    """The answer of ``locate --guest --json``; offsets and lengths in bytes.

    ``outside`` names the trees that end before the offset. The host offsets are those of the
    ``data_file`` where there is one. ``backing_file`` is where unallocated offsets read from.
    """

    schema: Literal["qcow2-dump.locate-guest/1"]
    image: str
    guest_offset: int
    guest_cluster: int
    cluster_size: int
    encrypted: bool
    data_file: str | None
    backing_file: str | None
    mappings: list[Mapping]
    outside: TreeNames


_LISTED_TREES = 16


def guest_document(location: GuestLocation, image: Image) -> GuestDocument:
    """The document about a guest offset."""
    backing = image.backing_file
    data_file = image.extensions.data_file if image.header.has_data_file else None
    return {
        "schema": "qcow2-dump.locate-guest/1",
        "image": plain(image.name),
        "guest_offset": location.offset,
        "guest_cluster": location.offset >> image.geometry.cluster_bits,
        "cluster_size": image.geometry.cluster_size,
        "encrypted": image.header.crypt_method != 0,
        "data_file": None if data_file is None else plain(data_file),
        "backing_file": None if backing is None else plain(backing),
        "mappings": [_mapping(group, image) for group in location.groups],
        "outside": _names(location.outside),
    }


def _mapping(group: TreesAlike, image: Image) -> Mapping:
    found = group.lookup
    l1, l2 = found.l1, found.l2
    first: Entry | None = None
    second: Entry | None = None
    if l1 is not None and found.l1_place is not None:
        first = _entry(found.l1_index, found.l1_place, l1.raw, flag_names(l1.raw, in_l2=False))
    if l2 is not None and found.l2_place is not None:
        second = _entry(found.l2_index, found.l2_place, l2.raw, _l2_flags(l2, image))
    table = group.table_refcount
    return {
        "trees": _names(group.trees),
        "l1_entry": first,
        "l2_table": l1.offset if l1 is not None and l1.offset else None,
        "l2_table_refcount": None if table is None else table.value,
        "l2_entry": second,
        "subclusters": l2.bitmap if l2 is not None and image.geometry.extended_l2 else None,
        "subcluster": found.subcluster,
        "type": TYPE_NAMES[found.type],
        "host_offset": found.host,
        "host_length": found.host_length,
        "byte_offset": found.host_byte(image.geometry.cluster_size),
        "host_clusters": [{"cluster": r.cluster, "refcount": r.value} for r in group.refcounts],
        "problem": problem_name(found.problem),
    }


def _entry(index: int, offset: int, raw: int, flags: list[str]) -> Entry:
    return {"index": index, "offset": offset, "raw": raw, "flags": flags}


def _l2_flags(entry: L2Entry, image: Image) -> list[str]:
    return flag_names(entry.raw, in_l2=True, extended_l2=image.geometry.extended_l2)


def _names(trees: tuple[str, ...]) -> TreeNames:
    return {"first": [plain(tree) for tree in trees[:_LISTED_TREES]], "total": len(trees)}


def guest_text(location: GuestLocation, image: Image, style: Style) -> Iterator[str]:
    """The lines about a guest offset."""
    cluster = location.offset >> image.geometry.cluster_bits
    where = f"guest {location.offset:#x}, in guest cluster {cluster:,}"
    yield f"{style.strong(printable(image.name))}: {where}"
    trees = Trees(image)
    for group in location.groups:
        yield ""
        yield f"  {style.strong(trees.names(group.trees, len(group.trees)))}"
        for line in _way(group, image):
            yield f"    {line}"
    if location.outside:
        yield ""
        names = trees.names(location.outside, len(location.outside))
        yield style.dim(f"  past the end of the disk of {names}")


def _way(group: TreesAlike, image: Image) -> Iterator[str]:
    """The entries on the way, then what they come to."""
    found = group.lookup
    if found.l1 is not None and found.l1_place is not None:
        flags = flag_names(found.l1.raw, in_l2=False)
        yield _entry_line("L1", found.l1_index, found.l1_place, found.l1.raw, flags)
        if found.l1.offset and group.table_refcount is not None:
            yield f"L2 table at {found.l1.offset:#x}{_refcount(group.table_refcount)}"
    if found.l2 is not None and found.l2_place is not None:
        raw, flags = found.l2.raw, _l2_flags(found.l2, image)
        yield _entry_line("L2", found.l2_index, found.l2_place, raw, flags)
        if image.geometry.extended_l2:
            at = f"this is subcluster {found.subcluster}" if found.subcluster is not None else ""
            yield f"subclusters {found.l2.bitmap:#018x}" + (f"; {at}" if at else "")
    yield _outcome(found, image)
    if found.host is not None:
        yield from _host(group, image)
    if found.problem:
        yield f"damaged: {PROBLEM_WORDS[found.problem]}"


def _entry_line(table: str, index: int, place: int, raw: int, flags: list[str]) -> str:
    shown = f" ({', '.join(flags)})" if flags else ""
    return f"{table} entry {index} at file offset {place:#x}: {raw:#018x}{shown}"


def _refcount(stored: StoredRefcount) -> str:
    return f", refcount {'unreadable' if stored.value is None else f'{stored.value:,}'}"


def _outcome(found: Lookup, image: Image) -> str:
    """What the guest reads there."""
    if found.problem.hides_mapping:
        return "nobody can tell what is mapped here"
    if found.type == ClusterType.UNALLOCATED:
        backing = image.backing_file
        if backing is None:
            return "unallocated: reads as zeros"
        return f"unallocated: reads from the backing file {quoted(backing)}, which is not opened"
    return {
        ClusterType.ZERO_PLAIN: "reads as zeros",
        ClusterType.ZERO_ALLOC: "reads as zeros, though a cluster is allocated",
        ClusterType.NORMAL: "data" + (", encrypted" if image.header.crypt_method else ""),
        ClusterType.COMPRESSED: "compressed data",
    }[found.type]


def _host(group: TreesAlike, image: Image) -> Iterator[str]:
    """The host range, the byte in it, and the refcounts of its clusters."""
    found = group.lookup
    if found.host is None or not found.host_length:
        return
    file = ""
    if image.header.has_data_file:
        file = f" of the data file {quoted(image.extensions.data_file or b'')}"
    words = f"host {found.host:#x}-{found.host + found.host_length - 1:#x}"
    words += f" ({size(found.host_length)}){file}"
    byte = found.host_byte(image.geometry.cluster_size)
    if byte is not None:
        words += f"; the byte itself at {byte:#x}"
    yield words
    for stored in group.refcounts:
        start = stored.cluster << image.geometry.cluster_bits
        yield f"host cluster {stored.cluster:,} at {start:#x}{_refcount(stored)}"
