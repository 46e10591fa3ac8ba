"""`du`: what fills an image's file."""

from argparse import Namespace

from qcow2_dump.cli.asked import Asked
from qcow2_dump.cli.commands.shared import IMAGE, add_lock, add_shown
from qcow2_dump.cli.pages import Example
from qcow2_dump.cli.subcommand import Options, Subcommand
from qcow2_dump.errors import RequestError
from qcow2_dump.operations.requests import DuRequest

__all__ = ["DU"]


def _options(options: Options) -> None:
    options.add_argument(
        "--sets",
        action="store_true",
        help="also show sets of snapshots that free more together than one by one, and what all "
        "snapshots free together",
    )
    options.add_argument(
        "--without",
        metavar="SNAP",
        action="append",
        default=[],
        help="say what deleting these snapshots would free together; may be repeated",
    )
    options.add_argument(
        "--csv",
        action="store_true",
        help="print a table of exact bytes; a name that a spreadsheet would take for a formula "
        "(=, +, -, @) begins with an apostrophe there",
    )
    add_shown(options, "a JSON document")
    add_lock(options)


def _ask(arguments: Namespace) -> Asked:
    if arguments.csv and arguments.json:
        raise RequestError("give either --json or --csv")
    request = DuRequest(
        image=arguments.image,
        sets=arguments.sets,
        without=tuple(arguments.without),
        lock=arguments.lock,
    )
    return Asked(request=request, json=arguments.json, csv=arguments.csv, color=arguments.color)


DU = Subcommand(
    name="du",
    purpose="Show what fills the file: data, tables, leaks, what is free; what each snapshot holds "
    "that nothing else does, and what deleting it would give back.",
    operands=(IMAGE,),
    add_options=_options,
    ask=_ask,
    notes=(
        "SNAP is an ID, a name, or snapshot[N] with N the position in the table, from 0.",
        "Nothing is changed. What deleting frees is exact, but for the table of snapshots itself.",
    ),
    examples=(
        Example("qcow2-dump du disk.qcow2"),
        Example("qcow2-dump du disk.qcow2 --without monday --without tuesday"),
        Example("qcow2-dump du --json disk.qcow2 | jq .trees"),
    ),
)
