"""The judge of crashes sees each thing that a wrong order of writes would lose."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qcow2_dump.plan.model import Barrier, Field, Plan, Resize, Step, Write
from tests.corpus import qemu
from tests.corpus.base import Base
from tests.corpus.bases import BASES
from tests.corpus.cases import path_of
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import Layout
from tests.differential.repair_crash import (
    CrashJudge,
    Judged,
    apply_steps,
    crashed,
    overwritten,
    sectors,
    stages,
    subsets,
)
from tests.differential.repair_tables import Held, Tables

FULL = os.environ.get("QCOW2_DUMP_FULL") == "1"
SOUND = [base for base in BASES if not base.unclean]
L1, L2, BLOCK, DATA, COPIED = 0x30000, 0x40000, 0x20000, 0x50000, 1 << 63
END = 0x80000


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Header, refcount table and block, L1, L2 and three data clusters, one after the other."""
    path = tmp_path_factory.mktemp("crash") / "image.qcow2"
    qemu.create(path, 64 << 20)
    qemu.io(path, ["write -P 17 0 192k"])
    with ImageFile(path, writable=False) as image:
        return image.read(0, END)


class Maker:
    """Makes a plan of writes of single integers, each against the image as it is by then."""

    def __init__(self, image: bytes) -> None:
        self.now = bytearray(image)
        self.plan = Plan("test", len(image))

    def put(self, offset: int, value: int, width: int = 8) -> Maker:
        """Store an integer."""
        return self.put_bytes(offset, value.to_bytes(width, "big"))

    def put_bytes(self, offset: int, data: bytes) -> Maker:
        """Store bytes."""
        old = Held(self.now).read(offset, len(data))
        put = self.plan.spool.put
        return self.add(Write(offset, put(old), put(data), Field("x", offset), "test", 1))

    def add(self, step: Step) -> Maker:
        """Add any step."""
        self.plan.steps.append(step)
        apply_steps(self.now, [step])
        return self

    def barrier(self) -> Maker:
        """Everything so far is on the disk before what follows."""
        return self.add(Barrier())

    def faults(self, image: bytes) -> set[str]:
        """The first word of all that the judge says of any crash."""
        judge = CrashJudge(image, self.now)
        states = crashed(image, self.plan, random.Random(1), 64)
        return {fault.split()[0] for state in states for fault in judge.faults(state)}


Make = Callable[[bytes], Maker]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makers of plans, which are closed in the end."""
    made: list[Maker] = []

    def maker(image: bytes) -> Maker:
        made.append(Maker(image))
        return made[-1]

    yield maker
    for one in made:
        one.plan.close()


def refcount(cluster: int) -> int:
    """Where the count of a cluster is."""
    return BLOCK + 2 * cluster


def test_a_sound_image_has_no_faults(sound: bytes) -> None:
    assert CrashJudge(sound, sound).faults(sound) == []


def test_a_second_reference_before_its_count(sound: bytes, make: Make) -> None:
    """A pointer to a cluster that is in use, and only then the count."""
    wrong = make(sound).put(L2 + 24, DATA).barrier().put(refcount(5), 2, 2)
    assert wrong.faults(sound) == {"refcount", "COPIED"}


def test_the_right_order_has_no_faults(sound: bytes, make: Make) -> None:
    right = make(sound).put(L2, DATA).barrier().put(refcount(5), 2, 2).barrier()
    right.put(L2 + 24, DATA)
    assert right.faults(sound) == set()


def test_without_the_barrier_it_has(sound: bytes, make: Make) -> None:
    wrong = make(sound).put(L2, DATA).put(refcount(5), 2, 2).put(L2 + 24, DATA)
    assert wrong.faults(sound) == {"refcount", "COPIED"}


def test_a_count_lowered_before_the_pointer_is_gone(sound: bytes, make: Make) -> None:
    wrong = make(sound).put(refcount(5), 0, 2).barrier().put(L2, 0)
    assert "refcount" in wrong.faults(sound)
    right = make(sound).put(L2, 0).barrier().put(refcount(5), 0, 2)
    assert right.faults(sound) == set()


def test_a_pointer_lost_in_between(sound: bytes, make: Make) -> None:
    """It comes back later, which a crash does not wait for."""
    wrong = make(sound).put(L2, 0).barrier().put(L2, COPIED | DATA)
    assert wrong.faults(sound) == {"active:"}
    table = make(sound).put(L1, 0).barrier().put(L1, COPIED | L2)
    assert table.faults(sound) == {"active:"}


def test_a_moved_table(sound: bytes, make: Make) -> None:
    """A copy of the L2 table at the end: first counted and written, then pointed to."""
    copy = sound[L2 : L2 + 0x10000]
    maker = make(sound).add(Resize(END, END + 0x10000, "grow")).barrier()
    maker.put(refcount(8), 1, 2).barrier().put_bytes(END, copy).barrier()
    right = maker.put(L1, COPIED | END).barrier().put(refcount(4), 0, 2)
    assert right.faults(sound) == set()
    maker = make(sound).add(Resize(END, END + 0x10000, "grow")).barrier()
    wrong = maker.put(refcount(8), 1, 2).barrier().put(L1, COPIED | END).put_bytes(END, copy)
    assert "active:" in wrong.faults(sound)


def test_a_flag_set_too_early(sound: bytes, make: Make) -> None:
    image = bytearray(sound)
    image[refcount(5) : refcount(5) + 2] = b"\0\2"
    image[L2 : L2 + 8] = DATA.to_bytes(8, "big")
    found = bytes(image)
    right = make(found).put(refcount(5), 1, 2).barrier().put(L2, COPIED | DATA)
    assert right.faults(found) == set()
    wrong = make(found).put(L2, COPIED | DATA).barrier().put(refcount(5), 1, 2)
    assert wrong.faults(found) == {"COPIED"}


def test_what_was_wrong_before_is_no_fault(sound: bytes) -> None:
    """The same damage that the image was found with."""
    image = bytearray(sound)
    image[refcount(5) : refcount(5) + 2] = b"\0\0"
    found = bytes(image)
    assert CrashJudge(found, sound).faults(found) == []
    assert CrashJudge(sound, sound).faults(found) != []


def test_a_file_grown_over_a_bogus_block(sound: bytes, make: Make) -> None:
    """The block was none before, and is none as long as the entry is the same."""
    image = bytearray(sound)
    image[0x10000:0x10008] = END.to_bytes(8, "big")
    found = bytes(image)
    block = sound[BLOCK : BLOCK + 16] + b"\0\1" + bytes(0x10000 - 18)
    grown = make(found).add(Resize(END, END + 0x10000, "grow")).barrier()
    assert grown.put_bytes(END, block).faults(found) == set()
    # The same growth over an entry that maps guest data makes it data.
    image = bytearray(sound)
    image[L2 : L2 + 8] = END.to_bytes(8, "big")
    found = bytes(image)
    assert make(found).add(Resize(END, END + 0x10000, "grow")).faults(found) == {"refcount"}


def test_a_lost_snapshot(tmp_path: Path, make: Make) -> None:
    path = tmp_path / "image.qcow2"
    qemu.create(path, 1 << 20)
    qemu.io(path, ["write -P 1 0 64k"])
    qemu.img("snapshot", "-c", "one", path)
    data = path.read_bytes()
    maker = make(data).put(60, 0, 4).barrier().put(60, 1, 4)
    assert "snapshot" in maker.faults(data)


def test_layers_exchanged_in_two_writes(tmp_path: Path, make: Make) -> None:
    """In between the old active layer is nowhere."""
    path = tmp_path / "image.qcow2"
    qemu.create(path, 1 << 20)
    qemu.io(path, ["write -P 1 0 64k"])
    qemu.img("snapshot", "-c", "one", path)
    qemu.io(path, ["write -P 2 0 64k"])
    data = path.read_bytes()
    active, saved = (tree.l1_offset for tree in Tables(Held(data)).trees)
    record = Layout(path).snapshots[0].offset
    maker = make(data).put(40, saved).barrier().put(record, active)
    assert "active:" in maker.faults(data)


def test_a_header_torn_apart(sound: bytes, make: Make) -> None:
    assert "nobody" in make(sound).put(0, 0, 4).barrier().put(0, 0x514649FB, 4).faults(sound)


def test_writes_over_guest_data_are_seen(sound: bytes, make: Make) -> None:
    image = bytearray(sound)
    image[L2 : L2 + 8] = bytes(8)
    found = bytes(image)
    assert overwritten(found, make(found).put(DATA + 0x10000, 1).plan)[0].endswith("cluster 6")
    assert "orphan cluster 5" in overwritten(found, make(found).put(DATA + 512, 1).plan)[0]
    free = make(found).put(L2, 1).put(refcount(5), 0, 2).put(END, 7).plan
    assert overwritten(found, free) == []


def test_stages_and_subsets(sound: bytes, make: Make) -> None:
    maker = make(sound).put(0, 1).put(8, 2).barrier().barrier().put(16, 3)
    found = stages(maker.plan)
    assert [len(stage) for stage in found] == [2, 1]
    rng = random.Random(2)
    assert sorted(map(len, subsets(found[0], rng, 64))) == [0, 1, 1, 2]
    many = [step for _ in range(10) for step in found[0]]
    chosen = list(subsets(many, rng, 50))
    assert len(chosen) == 50
    assert {len(kept) for kept in chosen} >= {20, 0} or len({len(kept) for kept in chosen}) > 5


def test_a_write_torn_apart(sound: bytes, make: Make) -> None:
    """Sectors come one by one: a table moved by one entry is wrong in between."""
    (whole,) = make(sound).put_bytes(DATA - 100, bytes(1300)).plan.steps
    pieces = list(sectors(whole))
    assert [(piece.offset - DATA, piece.length) for piece in pieces] == [
        (-100, 100),
        (0, 512),
        (512, 512),
        (1024, 176),
    ]
    disk = bytearray(sound)
    apply_steps(disk, pieces)
    assert disk[DATA : DATA + 1200] == bytes(1200)
    # Two entries in different sectors exchange their clusters in one write.
    image = bytearray(sound)
    image[L2 + 1024 : L2 + 1032], image[L2 + 8 : L2 + 16] = image[L2 + 8 : L2 + 16], bytes(8)
    moved = make(sound).put_bytes(L2, bytes(image[L2 : L2 + 2048]))
    assert moved.faults(sound) == {"refcount"}


@pytest.mark.parametrize("base", SOUND if FULL else SOUND[::4], ids=lambda base: base.name)
def test_it_counts_as_qemu_stores(base: Base) -> None:
    """Sound images: references equal refcounts, everywhere."""
    data = path_of(base).read_bytes()
    tables = Tables(Held(data))
    assert (tables.references == tables.stored.astype(int)).all()
    assert not Judged(data).stale
