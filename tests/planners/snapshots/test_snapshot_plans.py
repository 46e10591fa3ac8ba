"""Snapshots of real images applied and deleted, judged by qemu-img and by what the guest reads."""

from pathlib import Path

import pytest

from qcow2_dump.image.image import Image, open_image
from qcow2_dump.planners.proposal import Proposal
from qcow2_dump.planners.snapshots.plans import (
    plan_snapshot_apply,
    plan_snapshots_deleted,
    plan_snapshots_kept,
)
from tests.corpus.qemu import SECRET, create_encrypted
from tests.planners.carrying_out import carry_out, prefixes
from tests.support.qemu import (
    qemu_check,
    qemu_check_encrypted,
    qemu_io,
    qemu_to_raw,
    require_qemu,
    run_tool,
)

FORMATS = {
    "v3": ("4M",),
    "v2": ("-o", "compat=0.10,cluster_size=4k", "4M"),
    "extended": ("-o", "extended_l2=on,lazy_refcounts=on,refcount_bits=64", "4M"),
}


def io(path: Path, *commands: str) -> None:
    done = qemu_io(path, commands)
    assert done.returncode == 0, done.stdout + done.stderr


def take(path: Path, name: str) -> None:
    assert run_tool("qemu-img", "snapshot", "-c", name, path).returncode == 0


@pytest.fixture(params=FORMATS)
def layered(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Three snapshots, and an active layer that differs from all of them."""
    require_qemu()
    path = tmp_path / "t.qcow2"
    made = run_tool("qemu-img", "create", "-q", "-f", "qcow2", path, *FORMATS[request.param])
    assert made.returncode == 0, made.stderr
    io(path, "write -P 1 0 1M")
    take(path, "one")
    io(path, "write -P 2 256k 512k", "write -z 64k 64k", "write -c -P 9 2M 64k")
    take(path, "two")
    io(path, "write -P 3 3M 256k", "discard 0 64k", "write -P 5 600k 8k")
    take(path, "three")
    io(path, "write -P 4 512k 1M")
    assert qemu_check(path).rc == 0
    return path


def contents(path: Path, *ids: str) -> list[bytes]:
    """What the guest reads: the active layer, then some snapshots by their IDs."""
    raw = path.with_suffix(".raw")
    return [qemu_to_raw(path, raw, snapshot).read_bytes() for snapshot in (None, *ids)]


def ids(path: Path) -> list[bytes]:
    with open_image(path) as image:
        return [entry.record.id for entry in image.snapshot_table.entries]


def applied(path: Path, position: int) -> Proposal:
    with open_image(path) as image:
        proposal = plan_snapshot_apply(image, position, can_grow=True)
        carry_out(path, proposal.plan)
    return proposal


def predicted(path: Path, proposal: Proposal) -> None:
    """The check that was promised is that of qemu-img."""
    assert proposal.after is not None
    assert proposal.after.statistics.corruptions == 0
    assert proposal.after.statistics.leaks == 0
    judged = qemu_check(path)
    assert judged.rc == 0, judged.totals


def test_applied_the_layers_change_places(layered: Path) -> None:
    active, one, two, three = contents(layered, "1", "2", "3")
    predicted(layered, applied(layered, 1))
    assert contents(layered, "1", "2", "3") == [two, one, active, three]


def test_applied_twice_everything_is_as_before(layered: Path) -> None:
    before = contents(layered, "1", "2", "3")
    applied(layered, 0)
    predicted(layered, applied(layered, 0))
    assert contents(layered, "1", "2", "3") == before


def test_what_the_guest_writes_then_stays_in_its_layer(layered: Path) -> None:
    active, _, two, three = contents(layered, "1", "2", "3")
    applied(layered, 0)
    io(layered, "write -P 7 0 4M")
    assert contents(layered, "1", "2", "3") == [b"\7" * (4 << 20), active, two, three]
    assert qemu_check(layered).rc == 0
    applied(layered, 0)
    io(layered, "write -P 8 0 4M")
    assert contents(layered, "1", "2", "3")[1:] == [b"\7" * (4 << 20), two, three]
    assert qemu_check(layered).rc == 0


def test_tables_that_two_layers_share_are_copied_before_they_change(layered: Path) -> None:
    """The L1 table of a snapshot says that its L2 tables are its own: it was once so."""
    take(layered, "four")
    active = contents(layered)[0]
    predicted(layered, applied(layered, 3))
    io(layered, "write -P 7 0 4M")
    assert contents(layered, "4") == [b"\7" * (4 << 20), active]
    assert qemu_check(layered).rc == 0


@pytest.mark.parametrize(
    ("gone", "kept"),
    [((1,), (0, 2)), ((0, 2), (1,)), ((0, 1, 2), ())],
)
def test_deleted_and_kept_come_to_the_same(
    layered: Path, gone: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    before = contents(layered, "1", "2", "3")
    original = layered.read_bytes()
    for plan, chosen in ((plan_snapshots_deleted, gone), (plan_snapshots_kept, kept)):
        layered.write_bytes(original)
        with open_image(layered) as image:
            proposal = plan(image, chosen, can_grow=True)
            carry_out(layered, proposal.plan)
        predicted(layered, proposal)
        left = [str(position + 1) for position in kept]
        assert ids(layered) == [name.encode() for name in left]
        assert contents(layered, *left) == [before[0], *(before[p + 1] for p in kept)]


def test_a_guest_can_go_on_after_a_snapshot_is_gone(layered: Path) -> None:
    before = contents(layered, "1", "3")
    with open_image(layered) as image:
        carry_out(layered, plan_snapshots_deleted(image, (1,), can_grow=True).plan)
    io(layered, "write -P 6 0 4M")
    assert contents(layered, "1", "3") == [b"\6" * (4 << 20), *before[1:]]
    assert qemu_check(layered).rc == 0


@pytest.mark.parametrize("layered", ["v3"], indirect=True)
def test_a_crash_leaves_one_state_or_the_other(layered: Path) -> None:
    before = contents(layered, "1", "2", "3")
    with open_image(layered) as image:
        proposal = plan_snapshot_apply(image, 1, can_grow=True)
    active, one, two, three = before
    seen = []
    for _ in prefixes(layered, proposal.plan):
        now = contents(layered, "1", "2", "3")
        assert now in (before, [two, one, active, three])
        seen.append(now == before)
    assert seen[0]
    assert not seen[-1]
    assert sorted(seen, reverse=True) == seen


@pytest.mark.parametrize("layered", ["v3"], indirect=True)
@pytest.mark.parametrize("offset", [0x30200, 0x40000000, 2**63, 2**64 - 1, 0x7FFFFFFFC0000000])
def test_the_rescue_of_an_image_with_a_ruined_root(layered: Path, offset: int) -> None:
    """QEMU cannot read it before; then it can, and every snapshot reads as it did."""
    _, *snapshots = contents(layered, "1", "2", "3")
    data = bytearray(layered.read_bytes())
    data[40:48] = offset.to_bytes(8, "big")
    layered.write_bytes(data)
    assert qemu_io(layered, ["read -P 1 0 64k"]).returncode != 0
    proposal = applied(layered, 2)
    assert any("nothing that leaks is freed" in note for note in proposal.notes)
    assert contents(layered, "1", "2") == [snapshots[2], snapshots[0], snapshots[1]]
    io(layered, "write -P 7 0 4M")
    assert contents(layered, "1", "2")[1:] == snapshots[:2]


@pytest.mark.parametrize("layered", ["v3"], indirect=True)
def test_the_rescue_of_an_image_with_a_wiped_table(layered: Path) -> None:
    """The active L1 table is all zeros: the snapshots are as they were, and nothing is freed."""
    _, *snapshots = contents(layered, "1", "2", "3")
    data = bytearray(layered.read_bytes())
    with open_image(layered) as image:
        at = image.header.l1_table_offset
    data[at : at + 8] = bytes(8)
    layered.write_bytes(data)
    proposal = applied(layered, 2)
    assert proposal.before is not None
    assert proposal.after is not None
    assert proposal.after.statistics.leaks >= proposal.before.statistics.leaks > 0
    assert contents(layered, "1", "2") == [snapshots[2], snapshots[0], snapshots[1]]


@pytest.mark.parametrize("layered", ["v3"], indirect=True)
def test_a_damaged_record_can_be_deleted(layered: Path) -> None:
    """Its clusters stay: they may be all that is left of it."""
    active, one, _, three = contents(layered, "1", "2", "3")
    with open_image(layered) as image:
        at = image.snapshot_table.entries[1].offset
    data = bytearray(layered.read_bytes())
    data[at : at + 8] = (0x30200).to_bytes(8, "big")
    layered.write_bytes(data)
    with open_image(layered) as image:
        proposal = plan_snapshots_deleted(image, (1,), can_grow=True)
        carry_out(layered, proposal.plan)
    assert contents(layered, "1", "3") == [active, one, three]
    judged = qemu_check(layered)
    assert judged.rc == 3
    assert proposal.after is not None
    assert judged.count("leaks") == proposal.after.statistics.leaks
    assert any("stays" in note for note in proposal.notes)


def test_snapshots_of_different_sizes(tmp_path: Path) -> None:
    require_qemu()
    path = tmp_path / "t.qcow2"
    assert run_tool("qemu-img", "create", "-q", "-f", "qcow2", path, "1M").returncode == 0
    io(path, "write -P 1 0 1M")
    take(path, "small")
    assert run_tool("qemu-img", "resize", "-q", "-f", "qcow2", path, "1G").returncode == 0
    io(path, "write -P 2 900M 1M")
    size_now = path.with_suffix(".raw")
    predicted(path, applied(path, 0))
    assert contents(path) == [b"\1" * (1 << 20)]
    predicted(path, applied(path, 0))
    assert qemu_to_raw(path, size_now).stat().st_size == 1 << 30
    io(path, "read -P 2 900M 1M")


def test_no_snapshot_is_deleted_twice(tmp_path: Path) -> None:
    require_qemu()
    path = tmp_path / "t.qcow2"
    assert run_tool("qemu-img", "create", "-q", "-f", "qcow2", path, "1M").returncode == 0
    with open_image(path) as image:
        assert isinstance(image, Image)
        assert plan_snapshots_kept(image, (), can_grow=True).plan.is_empty


def test_a_bitmap_of_another_size_does_not_keep_qemu_out(tmp_path: Path) -> None:
    require_qemu()
    path = tmp_path / "t.qcow2"
    assert run_tool("qemu-img", "create", "-q", "-f", "qcow2", path, "1M").returncode == 0
    io(path, "write -P 1 0 1M")
    take(path, "small")
    assert run_tool("qemu-img", "resize", "-q", "-f", "qcow2", path, "1G").returncode == 0
    assert run_tool("qemu-img", "bitmap", "--add", "-g", "64k", path, "b").returncode == 0
    predicted(path, applied(path, 0))
    assert '"in-use"' in run_tool("qemu-img", "info", "--output=json", path).stdout
    assert contents(path) == [b"\1" * (1 << 20)]


def test_encrypted_data_stays_readable(tmp_path: Path) -> None:
    """The key stream of LUKS goes by host offsets, and no data moves."""
    require_qemu()
    path = tmp_path / "t.qcow2"
    create_encrypted(path, 1 << 20, "luks")
    opened = f"driver=qcow2,file.filename={path},encrypt.key-secret=s"

    def guest(*commands: str) -> None:
        flags = [part for command in commands for part in ("-c", command)]
        done = run_tool("qemu-io", *SECRET, "--image-opts", *flags, opened)
        assert done.returncode == 0, done.stdout + done.stderr

    def snapshot(*action: str) -> None:
        done = run_tool("qemu-img", "snapshot", *SECRET, "--image-opts", *action, opened)
        assert done.returncode == 0, done.stderr

    guest("write -P 1 0 1M")
    snapshot("-c", "one")
    guest("write -P 2 0 512k")
    applied(path, 0)
    guest("read -P 1 0 1M", "write -P 3 0 64k")
    applied(path, 0)
    guest("read -P 2 0 512k", "read -P 1 512k 512k")
    assert qemu_check_encrypted(path, "luks", "abc").rc == 0
