"""`repair` and `undo`: mend an image, and take that back."""

from argparse import Namespace

from qcow2_dump.cli.asked import Asked
from qcow2_dump.cli.commands.shared import IMAGE, add_base
from qcow2_dump.cli.commands.writing import add_writing, write_options
from qcow2_dump.cli.pages import Example
from qcow2_dump.cli.subcommand import Options, Subcommand, number
from qcow2_dump.operations.write_requests import RepairRequest, UndoRequest

__all__ = ["REPAIR", "UNDO"]


def _repair_options(options: Options) -> None:
    for name, words in (
        ("--leaks", "lower refcounts that are too high, where nothing is lost"),
        ("--errors", "mend refcounts, their blocks, COPIED flags and stray bits"),
        ("--reuse", "give each owner of a shared cluster a copy of its own"),
        ("--all", "leaks, errors and all else that costs neither data nor space"),
        ("--free-orphans", "also free leaked clusters that may be guest data"),
        ("--drop-unusable", "make ranges unallocated whose entries lead nowhere"),
        ("--drop-bitmaps", "remove bitmaps that keep QEMU from opening the image"),
    ):
        options.add_argument(name, action="store_true", help=words)
    options.add_argument(
        "--drop-snapshot",
        metavar="N",
        type=number,
        action="append",
        default=[],
        help="remove the snapshot record at position N; can be repeated",
    )
    options.add_argument(
        "--deep", action="store_true", help="also decompress every compressed cluster"
    )
    add_base(options)
    add_writing(options)


def _repair(arguments: Namespace) -> Asked:
    chosen = (arguments.leaks, arguments.errors, arguments.reuse, arguments.all)
    dropped = (arguments.drop_unusable, arguments.drop_bitmaps, arguments.drop_snapshot)
    # Without a choice: show what --all would do.
    nothing = not any((*chosen, *dropped))
    request = RepairRequest(
        image=arguments.image,
        leaks=arguments.leaks,
        errors=arguments.errors,
        reuse=arguments.reuse,
        everything=arguments.all or nothing,
        free_orphans=arguments.free_orphans,
        drop_unusable=arguments.drop_unusable,
        drop_bitmaps=arguments.drop_bitmaps,
        drop_snapshots=tuple(arguments.drop_snapshot),
        deep=arguments.deep,
        look_for_backing=not arguments.base,
        options=write_options(arguments, dry_run=nothing),
    )
    return Asked(request=request, json=arguments.json, color=arguments.color)


REPAIR = Subcommand(
    name="repair",
    purpose="Mend an image. Without a choice of what to mend, show what --all would do.",
    operands=(IMAGE,),
    add_options=_repair_options,
    ask=_repair,
    examples=(
        Example("qcow2-dump repair disk.qcow2", "what would be done?"),
        Example("qcow2-dump repair disk.qcow2 --errors --dry-run"),
        Example("qcow2-dump repair disk.qcow2 --all --yes"),
    ),
)


def _undo_options(options: Options) -> None:
    options.add_argument("--list", action="store_true", help="show what can be taken back")
    options.add_argument(
        "--finish", action="store_true", help="bring an interrupted change to its end instead"
    )
    add_writing(options, "use this undo file, not the last one beside the image")


def _undo(arguments: Namespace) -> Asked:
    request = UndoRequest(
        image=arguments.image,
        listing=arguments.list,
        finish=arguments.finish,
        options=write_options(arguments),
    )
    return Asked(request=request, json=arguments.json, color=arguments.color)


UNDO = Subcommand(
    name="undo",
    purpose="Take back the last change that qcow2-dump made to an image.",
    operands=(IMAGE,),
    add_options=_undo_options,
    ask=_undo,
    notes=(
        "Refused when the image has been used since the change. An undo can be undone.",
        "After an interrupted change: takes it back, or with --finish writes the rest of it.",
    ),
    examples=(
        Example("qcow2-dump undo disk.qcow2 --list"),
        Example("qcow2-dump undo disk.qcow2 --dry-run"),
    ),
)
