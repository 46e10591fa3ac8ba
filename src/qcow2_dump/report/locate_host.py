"""Who claims a host cluster: in words for people, and as a JSON document."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, TypedDict

from qcow2_dump.checks.findings import Claimant
from qcow2_dump.image.image import Image
from qcow2_dump.report.document import Claim
from qcow2_dump.report.escape import plain, printable
from qcow2_dump.report.places import Trees, claim
from qcow2_dump.report.style import Style
from qcow2_dump.report.units import counted

if TYPE_CHECKING:  # imports numpy
    from qcow2_dump.checks.owners.host_owners import HostLocation

__all__ = ["HostDocument", "host_document", "host_text"]

_SHOWN_OWNERS = 64


class HostDocument(TypedDict):
    """The answer of ``locate --host --json``; offsets and lengths in bytes.

    ``inside`` is false past the end of the file, where nothing is counted: a cluster that starts
    there has ``counted_refcount`` 0, though ``claimants`` may name it. The stored refcount is null
    where its block cannot be read, and ``refcount_offset`` where there is none. Of the
    ``claimants`` at most 1,024 are listed.
    """

    schema: Literal["qcow2-dump.locate-host/1"]
    image: str
    host_offset: int
    cluster: int
    cluster_offset: int
    cluster_size: int
    inside: bool
    stored_refcount: int | None
    refcount_offset: int | None
    counted_refcount: int
    claimants: list[Claim]
    claimants_total: int


def host_document(location: "HostLocation", image: Image) -> HostDocument:
    """The document about a host offset."""
    cluster = location.stored.cluster
    return {
        "schema": "qcow2-dump.locate-host/1",
        "image": plain(image.name),
        "host_offset": location.offset,
        "cluster": cluster,
        "cluster_offset": cluster << image.geometry.cluster_bits,
        "cluster_size": image.geometry.cluster_size,
        "inside": location.inside,
        "stored_refcount": location.stored.value,
        "refcount_offset": location.stored.place,
        "counted_refcount": location.counted,
        "claimants": [_claim(claimant) for claimant in location.claimants],
        "claimants_total": location.claimants_total,
    }


def _claim(claimant: Claimant) -> Claim:
    trees = [plain(tree) for tree in claimant.trees]
    return {
        "kind": claimant.kind,
        "offset": claimant.offset,
        "guest_offset": claimant.guest_offset,
        "l1_index": claimant.l1_index,
        "l2_index": claimant.l2_index,
        "trees": {"first": trees, "total": max(claimant.trees_total, len(trees))},
    }


def host_text(location: "HostLocation", image: Image, style: Style) -> Iterator[str]:
    """The lines about a host offset."""
    cluster, size = location.stored.cluster, image.geometry.cluster_size
    start = cluster * size
    where = f"host {location.offset:#x}, in host cluster {cluster:,} ({start:#x}"
    yield f"{style.strong(printable(image.name))}: {where}-{start + size - 1:#x})"
    stored = location.stored.value
    shown = "unreadable" if stored is None else f"{stored:,}"
    if location.stored.place is not None:
        shown += f" (at file offset {location.stored.place:#x})"
    if not location.inside:
        yield f"  past the end of the file at {image.source.size:#x}"
    counts = start < image.source.size
    yield f"  refcount: stored {shown}" + (f", counted {location.counted:,}" if counts else "")
    if not location.claimants:
        yield "  nothing claims this cluster"
    else:
        yield f"  {counted(location.claimants_total, 'owner')}:"
    trees = Trees(image)
    for claimant in location.claimants[:_SHOWN_OWNERS]:
        yield f"    - {claim(claimant, trees)}"
    more = location.claimants_total - min(len(location.claimants), _SHOWN_OWNERS)
    if more:
        yield style.dim(f"    - and {more:,} more")
    if image.header.has_data_file:
        yield style.dim("  guest data lies in the data file, at its guest offset")
