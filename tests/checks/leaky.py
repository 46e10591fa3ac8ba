"""Built images with leaks, and what triage says of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from qcow2_dump import CheckResult, check, open_image
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import Data, ImageSpec, Layout

CLUSTER = 4096
ENTRIES = CLUSTER // 8
SPAN = CLUSTER * ENTRIES
COPIED = 1 << 63
COMPRESSED = 1 << 62


def small_image(*guests: int, **changes: object) -> BuiltImage:
    """An image of 4 KiB clusters with data at these guest clusters, in host order of their numbers.

    Header in cluster 0, refcount table 1, refcount block 2, L1 3, L2 tables and data behind.
    """
    spec: dict[str, object] = {"cluster_bits": 12, "virtual_size": 4 * SPAN}
    spec["content"] = {guest: Data(0x11) for guest in guests}
    return build(ImageSpec(**{**spec, **changes}))  # type: ignore[arg-type]


def at(**places: int) -> Layout:
    """A layout that pins regions to host clusters; `l2_0` stands for the region `l2/0`."""
    return Layout(place={key.replace("_", "/"): cluster for key, cluster in places.items()})


def end_cluster(image: BuiltImage) -> int:
    """The first host cluster behind the file."""
    return -(-len(image.data) // image.spec.cluster_size)


def leak(image: BuiltImage, content: bytes | int = 0x77) -> int:
    """Append a cluster that counts as used though nothing refers to it; return its number.

    Content is the first bytes, or one byte that fills it; 0 leaves a hole.
    """
    cluster, size = end_cluster(image), image.spec.cluster_size
    offset = cluster * size
    if isinstance(content, bytes):
        image.data.write(offset, content)
    elif content:
        image.data.fill(offset, size, content)
    if len(image.data) < offset + size:
        image.truncate(offset + size)
    image.set_refcount(cluster, 1)
    return cluster


def leaks(image: BuiltImage, count: int) -> list[int]:
    """Append several leaks of guest-like content."""
    return [leak(image) for _ in range(count)]


def lose(image: BuiltImage, *guests: int) -> list[int]:
    """Zero the L2 entries of guest clusters; return the host clusters that leak by it."""
    lost = []
    for guest in guests:
        l1_index, l2_index = divmod(guest, image.spec.l2_entries)
        image.set_l2(l1_index, l2_index, 0)
        lost.append(image.active.data[guest] // image.spec.cluster_size)
    return lost


def table(clusters: Sequence[int], size: int = CLUSTER) -> bytes:
    """The first entries of an L2 table that map these host clusters."""
    return struct.pack(f">{len(clusters)}Q", *(COPIED | cluster * size for cluster in clusters))


def checked(image: BuiltImage, folder: Path, max_findings: int = 5000) -> CheckResult:
    """The check of a built image."""
    with open_image(image.write_to(folder / "image.qcow2")) as opened:
        return check(opened, max_findings=max_findings).result


def verdicts(result: CheckResult) -> dict[int, str]:
    """What triage says of each leaked host cluster."""
    found = [finding for finding in result.findings if finding.code == "refcount.leak"]
    words = {finding.cluster or 0: str(finding.triage) for finding in found}
    assert result.triage.waste == sum(word == "waste" for word in words.values())
    assert result.triage.orphans == sum(word == "orphan" for word in words.values())
    return words


def all_waste(result: CheckResult) -> bool:
    """Whether there are leaks, all of them waste, for no reason against it."""
    return set(verdicts(result).values()) == {"waste"} and not result.triage.reasons


def all_orphans(result: CheckResult) -> bool:
    """Whether there are leaks, all of them orphans, for a reason that is told."""
    return set(verdicts(result).values()) == {"orphan"} and bool(result.triage.reasons)
