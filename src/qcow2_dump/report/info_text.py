"""What an image says of itself, for people: sections of facts, and nothing that does not exist."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from qcow2_dump.image.info import (
    BackingFacts,
    ChainFacts,
    DataFileFacts,
    EncryptionFacts,
    FeatureFacts,
    FileFacts,
    ImageInfo,
    InfoFailure,
    Presence,
)
from qcow2_dump.ondisk.constants import (
    BitmapFlag,
    CryptMethod,
    ExtensionType,
    IncompatibleFeature,
)
from qcow2_dump.ondisk.feature_bits import FEATURE_WORDS
from qcow2_dump.report.escape import SHOWN_NAME, one_line, printable, quoted
from qcow2_dump.report.qemu_words import compat_level, compression_name
from qcow2_dump.report.style import Style
from qcow2_dump.report.units import clock, counted, size, utc

if TYPE_CHECKING:  # most images have none of these
    from qcow2_dump.image.tables import BitmapItem, SnapshotEntry
    from qcow2_dump.ondisk.luks import LuksHeader

__all__ = [
    "bitmap_rows",
    "fact_rows",
    "failure_report",
    "feature_rows",
    "info_report",
    "place_rows",
    "snapshot_cells",
    "snapshot_rows",
]

_SHOWN_ROWS = 200
_LABEL = 17

_PRESENCE: dict[Presence, str] = {
    "there": "",
    "missing": "missing",
    "not a path": "not the path of a file",
    "not looked for": "not looked for",
}


def info_report(info: ImageInfo, style: Style) -> Iterator[str]:
    """The lines of the report on one image, without line ends."""
    yield f"{style.strong(printable(info.file.name))}: {_headline(info, style)}"
    yield ""
    yield from _rows(fact_rows(info))
    yield ""
    yield from _rows(place_rows(info))
    yield from _section("features", feature_rows(info.features), style)
    yield from _section(
        "snapshots (dates in UTC)", snapshot_rows(info.snapshots), style, len(info.snapshots)
    )
    stale = "" if info.bitmaps_valid else " (out of date: QEMU ignores them)"
    yield from _section(f"bitmaps{stale}", bitmap_rows(info.bitmaps), style, len(info.bitmaps))
    if info.chain is not None:
        yield from _section("backing chain", _chain(info.chain), style)
    yield from _section("problems", _problems(info), style, len(info.problems))
    if info.problems:
        from qcow2_dump.report.commands import command, path

        yield ""
        yield f"  next: {command('check', path(info.file.name))}"


def failure_report(failure: InfoFailure, style: Style) -> Iterator[str]:
    """The header fields of an image that cannot be interpreted; nothing when there are none."""
    if not failure.fields:
        return
    name = style.strong(printable(failure.name))
    yield f"{name}: cannot be interpreted; its header fields as they are stored:"
    yield ""
    width = max(len(field.name) for field, _ in failure.fields)
    for field, value in failure.fields:
        yield f"  {field.name:<{width}}  {value:#x}" + (f" ({value})" if value > 9 else "")


def _headline(info: ImageInfo, style: Style) -> str:
    header = info.header
    parts = [
        f"qcow2 version {header.version} (compat {compat_level(header)})",
        f"{size(header.size)} disk",
    ]
    if IncompatibleFeature.CORRUPT in header.incompatible:
        parts.append(style.strong("marked corrupt"))
    if IncompatibleFeature.DIRTY in header.incompatible:
        parts.append(style.strong("dirty: refcounts may be out of date"))
    return ", ".join(parts)


def _rows(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for label, value in rows:
        yield f"  {label:<{_LABEL}} {value}"


def _section(title: str, lines: list[str], style: Style, total: int = 0) -> Iterator[str]:
    """Lines under a title, nothing without lines; of ``total`` things at most some are shown."""
    if not lines:
        return
    yield ""
    yield f"  {style.strong(title)}"
    for line in lines:
        yield f"    {line}"
    if total > _SHOWN_ROWS:
        yield style.dim(f"    and {total - _SHOWN_ROWS:,} more (--json has all)")


def fact_rows(info: ImageInfo) -> Iterator[tuple[str, str]]:
    """What the image is, and which files it needs."""
    header, geometry = info.header, info.header.geometry
    yield "virtual size", _exact(header.size)
    yield from _file_rows(info.file)
    clusters = _exact(header.cluster_size)
    if header.extended_l2:
        clusters += f", {geometry.subclusters} subclusters of {size(geometry.subcluster_size)}"
    yield "cluster size", clusters
    mode, reason = info.preallocation
    yield "preallocation", mode or f"not known: {one_line(reason or '')}"
    yield "compression", compression_name(header.compression_type)
    yield (
        "refcounts",
        counted(geometry.refcount_bits, "bit")
        + (", lazy" if header.compatible_features & 1 else ""),
    )
    if info.encryption is not None:
        yield from _encryption(info.encryption)
    if info.backing is not None:
        yield "backing file", _backing(info.backing)
    if info.data_file is not None:
        yield "data file", _data_file(info.data_file)


def _exact(length: int) -> str:
    """A size for people, and in bytes."""
    return size(length) if length < 1024 else f"{size(length)} ({length:,} bytes)"


def _file_rows(file: FileFacts) -> Iterator[tuple[str, str]]:
    if file.allocated is not None and not file.is_device:
        where = f" on {printable(file.file_system)}" if file.file_system else ""
        yield "on disk", _exact(file.allocated) + where
    yield "device length" if file.is_device else "file length", _exact(file.length)


def _encryption(facts: EncryptionFacts) -> Iterator[tuple[str, str]]:
    if facts.method == CryptMethod.AES:
        yield "encryption", "AES-CBC, the old and weak method"
        return
    if facts.method != CryptMethod.LUKS:
        yield "encryption", f"unknown method {facts.method}"
        return
    words = "LUKS" if facts.luks is None else f"LUKS, {_cipher(facts.luks)}"
    yield "encryption", words
    if facts.offset is not None and facts.length is not None:
        yield "", f"header of {size(facts.length)} at {facts.offset:#x}" + _slots(facts.luks)


def _cipher(luks: "LuksHeader") -> str:
    words = (luks.cipher_alg, luks.cipher_mode, luks.hash_spec)
    return ", ".join(printable(word) for word in words)


def _slots(luks: "LuksHeader | None") -> str:
    if luks is None:
        return ""
    used = sum(slot.active for slot in luks.slots)
    return f", {used} of {len(luks.slots)} key slots used, UUID {printable(luks.uuid)}"


def _backing(facts: BackingFacts) -> str:
    parts = [quoted(facts.stored), _format(facts.format)]
    if facts.presence != "there":
        parts.append(_PRESENCE[facts.presence])
    elif facts.path != facts.stored:
        parts.append(f"there as {quoted(facts.path)}")
    else:
        parts.append("there")
    return ", ".join(parts)


def _format(name: bytes | None) -> str:
    return "format not named" if name is None else f"format {printable(name, SHOWN_NAME)}"


def _data_file(facts: DataFileFacts) -> str:
    if facts.stored is None:
        return "needed, but not named"
    parts = [quoted(facts.stored), "raw" if facts.raw else "not raw"]
    parts.append(_PRESENCE[facts.presence] or "there")
    if not facts.used:
        parts.append("not in use")
    return ", ".join(parts)


def place_rows(info: ImageInfo) -> Iterator[tuple[str, str]]:
    """Where the metadata lies."""
    header = info.header
    unknown = f", {counted(len(header.unknown), 'unknown byte')}" if header.unknown else ""
    yield "header", counted(header.header_length, "byte") + unknown + _extensions(info)
    entries = counted(header.l1_size, "entry", "entries")
    yield "L1 table", f"{entries} at {header.l1_table_offset:#x}"
    clusters = counted(header.refcount_table_clusters, "cluster")
    yield "refcount table", f"{clusters} at {header.refcount_table_offset:#x}"
    if header.nb_snapshots:
        snapshots = counted(header.nb_snapshots, "snapshot")
        yield "snapshot table", f"{snapshots} at {header.snapshots_offset:#x}"
    if info.bitmaps_extension is not None:
        bitmaps = counted(info.bitmaps_extension.nb_bitmaps, "bitmap")
        yield "bitmap directory", f"{bitmaps} at {info.bitmaps_extension.directory_offset:#x}"


def _extensions(info: ImageInfo) -> str:
    if not info.extensions:
        return ""
    names = [
        found.name.replace("_", " ")
        + ("" if found.type in set(ExtensionType) else f" (unknown, {len(found.data)} bytes)")
        for found in info.extensions[:_SHOWN_ROWS]
    ]
    if len(info.extensions) > _SHOWN_ROWS:
        names.append(f"and {len(info.extensions) - _SHOWN_ROWS:,} more")
    return f", extensions: {', '.join(names)}"


def feature_rows(features: tuple[FeatureFacts, ...]) -> list[str]:
    """The bits that are set, and those that the image calls by another name."""
    return [
        f"{_word(feature.word):<12} {feature.bit:>3}   {_feature(feature)}"
        for feature in features
        if feature.is_set or feature.disagrees
    ]


def _word(number: int) -> str:
    return FEATURE_WORDS[number] if number < len(FEATURE_WORDS) else f"word {number}"


def _feature(feature: FeatureFacts) -> str:
    names = " and ".join(quoted(name) for name in feature.names[:3])
    words = feature.known or "unknown"
    if feature.disagrees or (feature.known is None and names):
        words += f", the image calls it {names}"
    return words if feature.is_set else f"{words} (not set)"


def snapshot_rows(snapshots: "tuple[SnapshotEntry, ...]") -> list[str]:
    """The first 200 snapshots as a table with a heading; nothing without any."""
    rows = snapshot_cells(snapshots)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def snapshot_cells(snapshots: "tuple[SnapshotEntry, ...]") -> list[tuple[str, ...]]:
    """The cells of that table, the heading first; columns without content are left out."""
    if not snapshots:
        return []
    rows: list[tuple[str, ...]] = [
        ("", "ID", "name", "date", "VM state", "VM clock", "disk", "icount")
    ]
    rows += [_snapshot(entry) for entry in snapshots[:_SHOWN_ROWS]]
    kept = [column for column in zip(*rows, strict=True) if any(column[1:])]
    return list(zip(*kept, strict=True))


def _snapshot(entry: "SnapshotEntry") -> tuple[str, ...]:
    record = entry.record
    return (
        f"[{entry.position}]",
        printable(record.id, 20),
        quoted(record.name, 40),
        utc(record.date_seconds),
        size(record.vm_state_size) if record.vm_state_size else "none",
        clock(record.vm_clock_nanoseconds),
        "as now" if record.disk_size is None else size(record.disk_size),
        "" if record.icount is None else f"{record.icount:,}",
    )


def bitmap_rows(bitmaps: "tuple[BitmapItem, ...]") -> list[str]:
    """The first 200 bitmaps, a line each."""
    return [_bitmap(item) for item in bitmaps[:_SHOWN_ROWS]]


def _bitmap(item: "BitmapItem") -> str:
    entry = item.entry
    bits = entry.granularity_bits
    grain = size(1 << bits) if bits < 64 else f"2^{bits} bytes"
    flags = [str(flag.name).lower().replace("_", " ") for flag in BitmapFlag if flag & entry.flags]
    parts = [quoted(entry.name), f"granularity {grain}", *flags]
    return ", ".join([*parts, f"table at {entry.table_offset:#x}"])


def _chain(chain: tuple[ChainFacts, ...]) -> list[str]:
    if not chain:
        return ["none: there is no backing file"]
    return [f"{link.depth}  {_link(link)}" for link in chain]


def _link(link: ChainFacts) -> str:
    shown = quoted(link.stored if link.path is None else link.path)
    if link.problem is not None:
        return f"{shown}: {one_line(link.problem)}"
    kind = str(link.format) + (" (by its first bytes)" if link.probed else "")
    if link.info is None:
        length = "" if link.file is None else f", {size(link.file.length)}"
        return f"{shown}, {kind}{length}"
    words = f"{shown}, {kind}, {size(link.info.header.size)} disk"
    if link.file is not None and link.file.allocated is not None:
        words += f", {size(link.file.allocated)} on disk"
    problems = len(link.info.problems)
    return words + (f", {counted(problems, 'problem')}" if problems else "")


def _problems(info: ImageInfo) -> list[str]:
    return [
        f"{problem.part}: {one_line(problem.message, 4 * SHOWN_NAME)}"
        for problem in info.problems[:_SHOWN_ROWS]
    ]
