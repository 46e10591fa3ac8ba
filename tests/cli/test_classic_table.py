"""Every classic option means the same request as a subcommand. No disk is touched."""

import itertools
import shlex

import pytest

from qcow2_dump.cli import classic, modern
from qcow2_dump.cli.asked import (
    Asked,
    ClassicView,
    HeaderFieldsRequest,
    HelpRequest,
    VersionRequest,
)
from qcow2_dump.cli.classic_options import OPTIONS
from qcow2_dump.operations.requests import CheckRequest, DumpRequest

CHECK = "check disk --statistics"
DUMP = "dump disk"

# What the classic line says, and the subcommand that asks for the same.
TABLE = [
    ("disk", CHECK),
    ("-m check disk", CHECK),
    ("--mode check disk", CHECK),
    ("-m error disk", "check disk --statistics --errors"),
    ("-m info disk", "info disk"),
    ("-m info -b disk", "info disk --base"),
    ("-m dump disk", DUMP),
    ("-m dump -o refcount disk", "dump disk --what refcounts"),
    ("-m dump -o snapshot disk", "dump disk --what tables"),
    ("-m dump --output all disk", "dump disk --what all"),
    ("-m dump -s active disk", "dump disk --snapshot active"),
    ("-m dump -s inactive disk", "dump disk --snapshot inactive"),
    ("-m dump -s all disk", "dump disk --snapshot all"),
    ("-m dump -s 'snapshot[2]' disk", "dump disk --snapshot 'snapshot[2]'"),
    ("-m dump --snapshot monday disk", "dump disk --snapshot monday"),
    ("-m dump -f disk", "dump disk --flags"),
    ("-m dump --flags disk", "dump disk --flags"),
    ("-m dump -c disk", "dump disk --deep"),
    ("-m dump -b disk", "dump disk --base"),
    ("-m dump --json disk", "dump disk --format jsonl"),
    ("-b disk", "check disk --statistics --base"),
    ("--base disk", "check disk --statistics --base"),
    ("-c disk", "check disk --statistics --deep"),
    ("--compress disk", "check disk --statistics --deep"),
    ("-l disk", "check disk --statistics --lock"),
    ("--lock disk", "check disk --statistics --lock"),
    ("-l -m info disk", "info disk --lock"),
    ("-lm dump disk", "dump disk --lock"),
    ("--json disk", "check disk --statistics"),
    ("-d none disk", CHECK),
    ("--display off disk", CHECK),
    ("-d color disk", CHECK),
    ("-p disk", CHECK),
    ("--prealloc disk", CHECK),
    ("-R none disk", CHECK),
    ("-R off disk", CHECK),
    ("-R check disk", CHECK),
    ("-M none -C off disk", CHECK),
    ("-R leak disk", "repair disk --leaks --yes"),
    ("-R error disk", "repair disk --errors --yes"),
    ("-R reuse disk", "repair disk --reuse --yes"),
    ("-R all disk", "repair disk --all --yes"),
    ("--repair all disk", "repair disk --all --yes"),
    ("-R leak -r disk", "repair disk --leaks --reuse --yes"),
    ("-R all --reuse disk", "repair disk --all --reuse --yes"),
    ("-R all -c -b disk", "repair disk --all --deep --base --yes"),
    ("-R leak --free-orphans disk", "repair disk --leaks --free-orphans --yes"),
    ("-R all --dry-run disk", "repair disk --all --dry-run --yes"),
    ("-R all --yes --undo-file /u disk", "repair disk --all --yes --undo-file /u"),
    ("-R all --no-undo disk", "repair disk --all --yes --no-undo"),
    ("-R all --force-unlocked disk", "repair disk --all --yes --force-unlocked"),
    ("-M dirty disk", "flag mark disk dirty --yes"),
    ("--mark corrupt disk", "flag mark disk corrupt --yes"),
    ("-C dirty disk", "flag clear disk dirty --yes"),
    ("--clean corrupt disk", "flag clear disk corrupt --yes"),
    ("-M dirty -C none disk", "flag mark disk dirty --yes"),
    ("-A monday disk", "snapshot apply disk monday --yes"),
    ("--apply 'snapshot[1]' disk", "snapshot apply disk 'snapshot[1]' --yes"),
    ("-D 3 disk", "snapshot delete disk 3 --yes"),
    ("--delete all disk", "snapshot delete disk all --yes"),
    ("-E 3 disk", "snapshot keep disk 3 --yes"),
    ("-E 0 disk", "snapshot delete disk all --yes"),
    ("--exclude monday disk", "snapshot keep disk monday --yes"),
    ("-m edit -O 0x18 disk", "edit disk 24 --yes"),
    ("-m edit -O 24 -V 0x10 disk", "edit disk 0x18 16 --yes"),
    ("-m edit --offset 24 --value 16 --width 4 disk", "edit disk 24 16 --width 4 --yes"),
    ("-m edit -O 24 -V 1 -L 2 disk", "edit disk 24 1 --width 2 --yes"),
    ("-m copy -O 0x100 -S 0 -w 512 disk", "copy disk --from 0 --to 256 --length 0x200 --yes"),
    (
        "-m copy --offset 1 --src 2 --length 3 --file old disk",
        "copy disk --from 2 --to 1 --length 3 --file old --yes",
    ),
    ("-m rebase -F base disk", "rebase disk base --yes"),
    ("-m rebase -b --file base disk", "rebase disk base --base --yes"),
]
NEED_NO_IMAGE = {"help": HelpRequest, "version": VersionRequest, "header": HeaderFieldsRequest}


def ask(line: str) -> Asked:
    """What a classic line asks for."""
    return classic.parse(shlex.split(line))


@pytest.mark.parametrize(("classic_line", "modern_line"), TABLE)
def test_both_faces_ask_for_the_same(classic_line: str, modern_line: str) -> None:
    assert ask(classic_line).request == modern.parse(shlex.split(modern_line)).request


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_table_has_every_option_under_every_name(option: object) -> None:
    words = {word for line, _ in TABLE for word in shlex.split(line)}
    assert set(getattr(option, "names", ())) <= words | {
        name for o in OPTIONS if o.name in NEED_NO_IMAGE for name in o.names
    }


@pytest.mark.parametrize("option", [o for o in OPTIONS if o.choices], ids=lambda o: o.name)
def test_the_table_has_every_value(option: object) -> None:
    names = getattr(option, "names", ())
    seen = {
        value
        for line, _ in TABLE
        for name, value in itertools.pairwise(shlex.split(line))
        if name in names
    }
    assert set(getattr(option, "choices", ())) <= seen


@pytest.mark.parametrize("name", NEED_NO_IMAGE)
def test_some_need_no_image(name: str) -> None:
    option = next(option for option in OPTIONS if option.name == name)
    for word in option.names:
        assert isinstance(ask(word).request, NEED_NO_IMAGE[name])
        assert isinstance(ask(f"{word} disk").request, NEED_NO_IMAGE[name])


SAME_LINES = [
    (
        "-m dump -f -s active disk",
        "-fm dump -s active disk",
        "-fmdump -sactive disk",
        "disk -m dump --flags --snapshot active",
        "-m dump disk -f --snapshot=active",
        "--mode=dump --flags disk -s active --",
        "-m check -s all -f -m dump -s active disk",
        "-f -m dump -s active -- disk",
        "-m dump -f --snap active disk",
    ),
    ("-R all -c disk", "-cR all disk", "-cRall disk", "disk -R none -c --repair=all"),
    ("-m edit -O 255 -V 10 disk", "-m edit -O0xff -V 0XA disk", "-O 0255 -V 010 disk -m edit"),
    ("-M none disk", "-M off disk", "disk"),
    ("-d none disk", "-d off disk", "--display=off disk", "-d color -d none disk"),
]


@pytest.mark.parametrize("lines", SAME_LINES)
def test_lines_that_say_the_same(lines: tuple[str, ...]) -> None:
    first, *others = lines
    for line in others:
        assert ask(line) == ask(first)


@pytest.mark.parametrize("name", ["-disk", "--help", "info"])
def test_names_after_a_double_dash(name: str) -> None:
    request = ask(f"-b -- {name}").request
    assert isinstance(request, CheckRequest)
    assert request.images == (name,)


@pytest.mark.parametrize(
    ("line", "view"),
    [
        ("disk", ClassicView()),
        ("-o refcount disk", ClassicView(what="refcounts")),
        ("-m error -o snapshot disk", ClassicView(what="tables")),
        ("-s active disk", ClassicView(snapshot="active")),
        ("-p -m dump disk", ClassicView(prealloc=True)),
        ("-R none disk", ClassicView(owners=False)),
        ("-R off disk", ClassicView(owners=False)),
    ],
)
def test_what_the_report_shows(line: str, view: ClassicView) -> None:
    assert ask(line).classic == view


@pytest.mark.parametrize(
    ("line", "color"),
    [
        ("disk", "auto"),
        ("-d color disk", "auto"),
        ("-d off disk", "never"),
        ("-m dump disk", "never"),
    ],
)
def test_colours(line: str, color: str) -> None:
    assert ask(line).color == color


def test_json_is_how_it_is_shown() -> None:
    assert ask("--json disk").json
    assert ask("-R all --json disk").json
    assert not ask("disk").json


def test_half_and_trees_are_part_of_what_a_dump_is_asked_for() -> None:
    request = ask("-m dump -o snapshot -s 1 disk").request
    assert isinstance(request, DumpRequest)
    assert (request.what, request.snapshot) == ("tables", "1")
