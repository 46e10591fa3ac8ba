"""`snapshot`, `flag`, `edit`, `copy` and `rebase`: change one thing in an image."""

from argparse import Namespace

from qcow2_dump.cli.asked import Asked
from qcow2_dump.cli.commands.shared import IMAGE, add_base
from qcow2_dump.cli.commands.writing import add_writing, write_options
from qcow2_dump.cli.pages import Example
from qcow2_dump.cli.subcommand import Operand, Options, Subcommand, number
from qcow2_dump.cli.usage import UsageError, read_number
from qcow2_dump.operations.write_requests import (
    CopyRequest,
    EditRequest,
    FlagRequest,
    RebaseRequest,
    SnapshotRequest,
    WriteRequest,
)

__all__ = ["COPY", "EDIT", "FLAG", "REBASE", "SNAPSHOT"]


def _asked(request: WriteRequest, arguments: Namespace) -> Asked:
    return Asked(request=request, json=arguments.json, color=arguments.color)


def _snapshot(arguments: Namespace) -> Asked:
    request = SnapshotRequest(
        image=arguments.image,
        action=arguments.action,
        snapshot=arguments.snapshot,
        options=write_options(arguments),
    )
    return _asked(request, arguments)


SNAPSHOT = Subcommand(
    name="snapshot",
    purpose="List the snapshots of an image, go back to one, delete one (or all of them), or keep "
    "one and delete the others.",
    operands=(
        Operand("action", "ACTION", "what to do", choices=("list", "apply", "delete", "keep")),
        IMAGE,
        Operand("snapshot", "SNAP", "an ID, a name, or snapshot[N] by its position", optional=True),
    ),
    add_options=add_writing,
    ask=_snapshot,
    notes=("Applying exchanges tables and copies no data: done twice, it changes nothing.",),
    examples=(
        Example("qcow2-dump snapshot list disk.qcow2"),
        Example("qcow2-dump snapshot apply disk.qcow2 monday --dry-run"),
        Example("qcow2-dump snapshot delete disk.qcow2 'snapshot[0]'"),
    ),
)


def _flag(arguments: Namespace) -> Asked:
    request = FlagRequest(
        image=arguments.image,
        action=arguments.action,
        flag=arguments.flag,
        free_orphans=arguments.free_orphans,
        options=write_options(arguments),
    )
    return _asked(request, arguments)


def _flag_options(options: Options) -> None:
    options.add_argument(
        "--free-orphans",
        action="store_true",
        help="mark dirty even where QEMU then frees what may be guest data",
    )
    add_writing(options)


FLAG = Subcommand(
    name="flag",
    purpose="Set or clear the dirty or the corrupt flag in the header.",
    operands=(
        Operand("action", "ACTION", "set it or clear it", choices=("mark", "clear")),
        IMAGE,
        Operand("flag", "FLAG", "which flag", choices=("dirty", "corrupt")),
    ),
    add_options=_flag_options,
    ask=_flag,
    examples=(
        Example("qcow2-dump flag clear disk.qcow2 corrupt"),
        Example("qcow2-dump flag mark disk.qcow2 dirty --dry-run"),
    ),
)


def _edit_options(options: Options) -> None:
    options.add_argument(
        "--width",
        metavar="N",
        type=number,
        default=8,
        help="the integer has 1, 2, 4 or 8 bytes (default: %(default)s)",
    )
    add_writing(options)


def _edit(arguments: Namespace) -> Asked:
    value = arguments.value
    request = EditRequest(
        image=arguments.image,
        offset=_operand("OFFSET", arguments.offset),
        value=None if value is None else _operand("VALUE", value),
        width=arguments.width,
        options=write_options(arguments),
    )
    return _asked(request, arguments)


EDIT = Subcommand(
    name="edit",
    purpose="Show the big-endian integer at an offset of the file and, given a value, store it.",
    operands=(
        IMAGE,
        Operand("offset", "OFFSET", "where in the file, in bytes"),
        Operand("value", "VALUE", "what to store", optional=True),
    ),
    add_options=_edit_options,
    ask=_edit,
    notes=("Numbers are decimal or 0x hexadecimal.",),
    examples=(
        Example("qcow2-dump edit disk.qcow2 0x18", "show the virtual size"),
        Example("qcow2-dump edit disk.qcow2 0x48 0 --dry-run"),
    ),
)


def _copy_options(options: Options) -> None:
    for name, words in (
        ("--from", "where the bytes are"),
        ("--to", "where in the image they go"),
        ("--length", "how many there are: at most one cluster"),
    ):
        options.add_argument(name, metavar="N", type=number, help=words)
    options.add_argument("--file", metavar="FILE", help="copy from this file, not the image")
    add_writing(options)


def _copy(arguments: Namespace) -> Asked:
    source, destination, length = (
        _given(option, vars(arguments)[option]) for option in ("from", "to", "length")
    )
    request = CopyRequest(
        image=arguments.image,
        source=source,
        destination=destination,
        length=length,
        file=arguments.file,
        options=write_options(arguments),
    )
    return _asked(request, arguments)


COPY = Subcommand(
    name="copy",
    purpose="Copy up to one cluster of bytes within an image, or into it from another file.",
    operands=(IMAGE,),
    add_options=_copy_options,
    ask=_copy,
    notes=("Numbers are decimal or 0x hexadecimal, offsets and lengths in bytes.",),
    examples=(
        Example("qcow2-dump copy disk.qcow2 --from 0x50000 --to 0x40000 --length 65536"),
        Example("qcow2-dump copy disk.qcow2 --file old.qcow2 --from 0 --to 0 --length 104"),
    ),
)


def _rebase(arguments: Namespace) -> Asked:
    request = RebaseRequest(
        image=arguments.image,
        backing=arguments.backing,
        look_for_backing=not arguments.base,
        options=write_options(arguments),
    )
    return _asked(request, arguments)


def _rebase_options(options: Options) -> None:
    add_base(options)
    add_writing(options)


REBASE = Subcommand(
    name="rebase",
    purpose="Write another backing file name into the header. No guest data is moved.",
    operands=(IMAGE, Operand("backing", "BACKING", "the name of the backing file")),
    add_options=_rebase_options,
    ask=_rebase,
    examples=(Example("qcow2-dump rebase overlay.qcow2 base.qcow2 --dry-run"),),
)


def _operand(name: str, text: str) -> int:
    try:
        return read_number(text)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _given(option: str, value: int | None) -> int:
    if value is None:
        raise UsageError(f"--{option} is missing")
    return value
