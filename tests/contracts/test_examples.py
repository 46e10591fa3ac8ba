"""The sample images are small, damaged as they are said to be, and can be made again."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qcow2_dump
from qcow2_dump import Verdict
from tests.support.qemu import qemu_check, require_qemu, run_tool

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DEEP = "compressed.qcow2 --deep"
LARGEST = 300 << 10
LARGEST_ALTOGETHER = 2 << 20

EXPECTED = {
    "sound.qcow2": (Verdict.GOOD, []),
    "damaged-l2.qcow2": (
        Verdict.CORRUPT,
        ["l2.reserved", "l2.unaligned", "l2.beyond-end", "l2.copied", "refcount.leak"],
    ),
    "wiped-l2.qcow2": (Verdict.CORRUPT, ["l2.wiped", "refcount.leak"]),
    "leaks.qcow2": (Verdict.LEAK, ["refcount.leak"]),
    "shared.qcow2": (Verdict.CORRUPT, ["cluster.shared"]),
    "refcounts.qcow2": (Verdict.WRONG, ["l2.copied", "refcount.low", "refcount.block-missing"]),
    "snapshot-table.qcow2": (
        Verdict.SNAPSHOT,
        ["snapshot.l1-table", "leak.orphan-table", "refcount.leak"],
    ),
    "compressed.qcow2": (Verdict.GOOD, []),
    DEEP: (Verdict.CORRUPT, ["l2.stream"]),
    "truncated.qcow2": (
        Verdict.CORRUPT,
        ["file.truncated", "l2.beyond-end", "refcount.beyond-end"],
    ),
}


def images() -> list[str]:
    return sorted(path.name for path in EXAMPLES.glob("*.qcow2"))


def judged(sample: str, folder: Path = EXAMPLES) -> tuple[Verdict, list[str]]:
    """The verdict and the codes of a sample: a file name, and an option perhaps."""
    name, _, option = sample.partition(" ")
    with qcow2_dump.open_image(folder / name) as image:
        result = qcow2_dump.check(image, deep=option == "--deep").result
    return result.verdict, result.kinds(*qcow2_dump.Severity)


def told_by_qemu(sample: str) -> str:
    """What the table says of qemu-img's check: its status, and what it counted."""
    found = qemu_check(EXAMPLES / sample.partition(" ")[0])
    counts = [(found.count("corruptions"), "corruption"), (found.count("leaks"), "leak")]
    words = [f"{count} {word}{'s' * (count > 1)}" for count, word in counts if count]
    return f"`{found.rc}`" + (": " + ", ".join(words) if words else "")


def told_by_us(verdict: Verdict, codes: list[str]) -> str:
    """What the table says of our check: the status, its name, and the codes."""
    words = f"`{verdict.value}` {verdict.label}"
    return words + (": " + ", ".join(f"`{code}`" for code in codes) if codes else "")


def table() -> dict[str, list[str]]:
    """The rows of the README by sample: how it was made, and what each program says."""
    lines = (EXAMPLES / "README.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[0].strip("`"): row[1:] for row in cells[2:]}


def test_every_image_is_expected_and_every_expected_one_is_there() -> None:
    assert images() == sorted(set(EXPECTED) - {DEEP})
    assert list(table()) == list(EXPECTED)


def test_the_images_are_small() -> None:
    sizes = [(EXAMPLES / name).stat().st_size for name in images()]
    assert max(sizes) <= LARGEST
    assert sum(sizes) <= LARGEST_ALTOGETHER


@pytest.mark.parametrize("sample", EXPECTED)
def test_a_sample_is_damaged_as_expected(sample: str) -> None:
    assert judged(sample) == EXPECTED[sample]


@pytest.mark.parametrize("sample", EXPECTED)
def test_the_table_says_what_we_say(sample: str) -> None:
    how, _, ours = table()[sample]
    assert how
    assert ours == told_by_us(*judged(sample))


@pytest.mark.parametrize("sample", EXPECTED)
def test_the_table_says_what_qemu_says(sample: str) -> None:
    require_qemu()
    assert table()[sample][1] == told_by_qemu(sample)


def test_the_samples_can_be_made_again(tmp_path: Path) -> None:
    """Another QEMU may place clusters differently, so the findings count, not the bytes."""
    require_qemu()
    subprocess.run([sys.executable, EXAMPLES / "make.py", tmp_path], check=True, timeout=120)
    assert sorted(path.name for path in tmp_path.iterdir()) == images()
    assert {sample: judged(sample, tmp_path) for sample in EXPECTED} == EXPECTED


def pattern_clusters(path: Path) -> int:
    """How many 4 KiB clusters of an image hold one of the bytes that make.py lets a guest write."""
    data = path.read_bytes()
    clusters = (data[at : at + 4096] for at in range(0, len(data), 4096))
    return sum(cluster == cluster[:1] * 4096 and 0 < cluster[0] < 5 for cluster in clusters)


@pytest.mark.parametrize(
    ("name", "lost"),
    [("wiped-l2.qcow2", 16), ("snapshot-table.qcow2", 8), ("damaged-l2.qcow2", 2)],
)
def test_what_a_repair_by_qemu_costs(name: str, lost: int, tmp_path: Path) -> None:
    """The numbers of the README: clusters of guest data that `-r all` punches out of the file."""
    require_qemu()
    path = tmp_path / name
    shutil.copy(EXAMPLES / name, path)
    run_tool("qemu-img", "check", "-q", "-r", "all", "-f", "qcow2", path)
    assert pattern_clusters(EXAMPLES / name) - pattern_clusters(path) == lost
    assert (qemu_check(path).rc == 0) == (name == "wiped-l2.qcow2")
