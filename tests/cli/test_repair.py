"""`repair` and ``-R``: shown, agreed to, done, told; and the exit status of each."""

import json
import os
from pathlib import Path

import jsonschema
import pytest

from qcow2_dump.cli.main import main
from scripts.generate_docs import DOCS
from tests.builder.built import BuiltImage
from tests.builder.std import std_image
from tests.cli.running import run
from tests.cli.terminal import run_on_terminal

SCHEMA = json.loads((DOCS / "plan.schema.json").read_text(encoding="utf-8"))
COPIED = 1 << 63


def low() -> BuiltImage:
    """A refcount too low: status 4."""
    image = std_image()
    image.set_refcount(6, 0)
    return image


def leaking() -> BuiltImage:
    """A refcount too high: status 1."""
    image = std_image()
    image.set_refcount(6, 2)
    image.set_l2(0, 1, 0x60000)
    return image


def beyond() -> BuiltImage:
    """An entry past the end, which nothing mends: status 6."""
    image = std_image()
    image.set_l2(0, 1, COPIED | 0x90000000)
    return image


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the image goes; the working directory is its folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "disk.qcow2"


def undo_files(disk: Path) -> list[str]:
    """The names beside the image."""
    return sorted(path.name for path in disk.parent.iterdir() if path != disk)


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """The JSON document that was printed; it fits the schema."""
    line = capsys.readouterr().out
    found: dict[str, object] = json.loads(line)
    jsonschema.validate(found, SCHEMA)
    return found


PLAN = """\
disk.qcow2: WRONG - refcounts are too low; all data can be read, but writing is dangerous

  would be done: 1 change, 16 bytes written

  refcount.raise   1 change
      A refcount is raised to the number of references to its cluster, so that the cluster is
      not given out a second time.
      The guest sees no difference; its next writes are safe again.
        refcount of cluster 6 (file offset 0x2000c): 0 -> 1

  afterwards: GOOD - nothing is wrong

  next: qcow2-dump repair disk.qcow2 --all --yes
"""


@pytest.mark.parametrize("line", ["repair disk.qcow2", "repair disk.qcow2 --all --dry-run"])
def test_a_plan_for_people(line: str, disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = low().write_to(disk).read_bytes()
    assert main(line.split()) == 4
    assert capsys.readouterr().out == PLAN
    assert disk.read_bytes() == before
    assert undo_files(disk) == []


def test_a_repair_for_people(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low().write_to(disk)
    assert main(["repair", "disk.qcow2", "--errors", "--yes"]) == 0
    assert (
        capsys.readouterr().out
        == f"""\
disk.qcow2: GOOD - nothing is wrong
  repaired: 1 change, 16 bytes written and read back

  undo file: {disk}.qcow2-undo.1
  to take it back: qcow2-dump undo disk.qcow2

  next: qcow2-dump check disk.qcow2
"""
    )
    assert disk.read_bytes() == std_image().data.to_bytes()


@pytest.mark.parametrize("line", ["repair disk.qcow2 --all --yes", "-R all disk.qcow2"])
def test_a_sound_image_is_left_alone(
    line: str, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = std_image().write_to(disk).read_bytes()
    assert main(line.split()) == 0
    shown = capsys.readouterr().out
    assert shown.endswith("disk.qcow2: GOOD - nothing is wrong\n  nothing to do\n")
    assert disk.read_bytes() == before
    assert undo_files(disk) == []


@pytest.mark.parametrize(
    ("made", "options", "dry", "done"),
    [
        (low, "--errors", 4, 0),
        (low, "--leaks", 4, 4),
        (leaking, "--leaks", 1, 0),
        (leaking, "--errors", 1, 1),
        (beyond, "--all", 6, 6),
    ],
)
def test_statuses(made: object, options: str, dry: int, done: int, disk: Path) -> None:
    made().write_to(disk)  # type: ignore[operator]
    assert main(["repair", "disk.qcow2", options, "--dry-run"]) == dry
    assert main(["repair", "disk.qcow2", options, "--yes"]) == done
    # Again: nothing is left to do, and the status is the same.
    after = disk.read_bytes()
    assert main(["repair", "disk.qcow2", options, "--yes"]) == done
    assert disk.read_bytes() == after


def test_without_a_terminal_nothing_is_written(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = low().write_to(disk).read_bytes()
    assert main(["repair", "disk.qcow2", "--all"]) == 234
    said = capsys.readouterr()
    assert said.out == PLAN
    assert said.err.count("\n") == 1
    assert said.err.startswith("qcow2-dump repair: disk.qcow2: nothing was written")
    assert "--yes" in said.err
    assert disk.read_bytes() == before
    assert undo_files(disk) == []


@pytest.mark.parametrize(
    ("answer", "status"), [("y\n", 0), ("yes\n", 0), ("n\n", 234), ("\n", 234), ("yonder\n", 234)]
)
def test_a_terminal_is_asked(answer: str, status: int, disk: Path) -> None:
    before = low().write_to(disk).read_bytes()
    code, out, shown = run_on_terminal(answer, "repair", "disk.qcow2", "--all")
    assert code == status
    assert out.startswith("disk.qcow2: WRONG")
    assert "refcount of cluster 6" in out
    assert "Write these changes to disk.qcow2? [y/N]" in shown
    assert (disk.read_bytes() == before) == (status != 0)
    if status == 0:
        assert "disk.qcow2: GOOD" in out
    else:
        assert "nothing was written" in shown


def test_the_classic_option_is_the_consent(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low().write_to(disk)
    assert main(["-R", "error", "disk.qcow2"]) == 0
    shown = capsys.readouterr().out
    # The report of the image as found, as the original printed it; then what was done.
    assert "Refcount:       error: 1, leak: 0, unused: 1017, used: 6 (rebuild: 1" in shown or (
        "[error]" not in shown and "rebuild: 1" in shown
    )
    report, _, rest = shown.partition("disk.qcow2: GOOD")
    assert "disk.qcow2: WRONG" in report
    assert "repaired: 1 change" in rest
    assert undo_files(disk) == ["disk.qcow2.qcow2-undo.1"]


def test_a_classic_dry_run(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = low().write_to(disk).read_bytes()
    assert main(["-R", "all", "--dry-run", "disk.qcow2"]) == 4
    assert capsys.readouterr().out.endswith(PLAN)
    assert disk.read_bytes() == before


def test_a_plan_for_programs(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low().write_to(disk)
    assert main(["repair", "disk.qcow2", "--json"]) == 4
    found = document(capsys)
    assert (found["dry_run"], found["applied"], found["status"]) == (True, False, "wrong")
    assert found["command"] == "qcow2-dump repair disk.qcow2 --all"
    (change,) = found["changes"]  # type: ignore[misc]
    assert change["cluster"] == 6
    assert (change["old"], change["new"], change["reason"]) == (0, 1, "refcount.raise")
    assert found["before"]["status"] == "wrong"  # type: ignore[index]
    assert found["after"]["totals"]["corruptions"] == 0  # type: ignore[index]


def test_a_repair_for_programs(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low().write_to(disk)
    assert main(["repair", "disk.qcow2", "--all", "--yes", "--json"]) == 0
    found = document(capsys)
    assert (found["applied"], found["status"], found["exit_status"]) == (True, "good", 0)
    assert found["undo_file"] == f"{disk}.qcow2-undo.1"
    assert main(["repair", "disk.qcow2", "--all", "--yes", "--json"]) == 0
    assert document(capsys)["changes_total"] == 0


def test_what_was_declined_for_programs(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low().write_to(disk)
    assert main(["repair", "disk.qcow2", "--all", "--json"]) == 234
    found = document(capsys)
    assert (found["status"], found["applied"]) == ("declined", False)
    assert "--yes" in str(found["error"])


@pytest.mark.parametrize(("listed", "omitted"), [(0, 3), (2, 1), (3, 0)])
def test_some_changes_are_listed_and_all_are_counted(
    listed: int, omitted: int, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = std_image()
    for cluster in (5, 6, 7):
        image.set_refcount(cluster, 0)
    image.write_to(disk)
    words = ["repair", "disk.qcow2", "--max-changes", str(listed)]
    main([*words, "--json"])
    found = document(capsys)
    assert len(found["changes"]) == listed  # type: ignore[arg-type]
    assert (found["changes_total"], found["changes_omitted"]) == (3, omitted)
    main(words)
    shown = capsys.readouterr().out
    assert shown.count("refcount of cluster") == listed
    assert (f"and {omitted} more" in shown) == (omitted > 0)


def test_given_up_ranges_are_listed_first(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beyond().write_to(disk)
    main(["repair", "disk.qcow2", "--drop-unusable", "--dry-run"])
    shown = capsys.readouterr().out
    assert "given up: 1 range of the guest's disk" in shown
    assert "guest 0x10000-0x1ffff" in shown
    assert shown.index("given up") < shown.index("l2.dropped")
    main(["repair", "disk.qcow2", "--drop-unusable", "--dry-run", "--json"])
    found = document(capsys)
    assert found["losses"][0]["guest_offset"] == 0x10000  # type: ignore[index]


def test_no_undo_file_when_declined_so(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low().write_to(disk)
    assert main(["repair", "disk.qcow2", "--all", "--yes", "--no-undo"]) == 0
    assert undo_files(disk) == []
    assert "undo" not in capsys.readouterr().out


def test_an_undo_file_elsewhere(disk: Path, tmp_path: Path) -> None:
    before = low().write_to(disk).read_bytes()
    elsewhere = tmp_path / "kept" / "undo"
    elsewhere.parent.mkdir()
    words = ["repair", "disk.qcow2", "--all", "--yes", "--undo-file", str(elsewhere)]
    assert main(words) == 0
    assert elsewhere.stat().st_mode & 0o777 == 0o600
    assert main(["undo", "disk.qcow2", "--yes"]) == 0
    assert disk.read_bytes() == before


def test_no_file_and_no_image(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repair", "disk.qcow2", "--json"]) == 254
    assert document(capsys)["errno"] == "ENOENT"
    disk.write_bytes(b"no image at all")
    assert main(["repair", "disk.qcow2"]) == 234
    assert "not a qcow2 image" in capsys.readouterr().err


def test_what_comes_next_where_nothing_can_be_mended(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = std_image()
    image.set_l2(0, 1, 0x90000000)
    image.write_to(disk)
    assert main(["repair", "disk.qcow2", "--errors", "--dry-run"]) == 6
    shown = capsys.readouterr().out
    assert "nothing to do" in shown
    # Not the repair that was just found to have nothing to do.
    assert shown.endswith("  next: qcow2-dump explain l2.beyond-end\n")


def test_a_name_that_rules_the_terminal(disk: Path) -> None:
    low().write_to(disk.parent / "a\x1b[31mb\u202e")
    code, out, shown = run_on_terminal("n\n", "repair", "a\x1b[31mb\u202e", "--all")
    assert code == 234
    assert "\x1b" not in out + shown
    assert "\u202e" not in out + shown


def test_json_on_a_terminal_asks_apart_from_it(disk: Path) -> None:
    low().write_to(disk)
    code, out, shown = run_on_terminal("y\n", "repair", "disk.qcow2", "--all", "--json")
    assert code == 0
    found = json.loads(out)
    jsonschema.validate(found, SCHEMA)
    assert found["applied"]
    assert "refcount of cluster 6" in shown
    assert "[y/N]" in shown


def test_json_of_the_classic_option(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low().write_to(disk)
    assert main(["-R", "all", "--json", "disk.qcow2"]) == 0
    assert document(capsys)["applied"]


def test_a_pipe_that_is_closed_before_the_plan_was_shown(disk: Path) -> None:
    before = low().write_to(disk).read_bytes()
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        assert run("repair", "disk.qcow2", "--all", stdout=closed).returncode == 141
    assert disk.read_bytes() == before
