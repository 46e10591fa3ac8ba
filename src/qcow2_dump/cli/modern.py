"""The face of subcommands: which there are, and what their words ask for.

A subcommand is loaded when it is named, so that the list of them answers at once.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from qcow2_dump.cli.pages import Entry, Example, Page, Section

if TYPE_CHECKING:
    from qcow2_dump.cli.asked import Asked
    from qcow2_dump.cli.subcommand import Subcommand

__all__ = ["COMPLETE", "SUBCOMMANDS", "main_page", "parse", "subcommand", "subcommand_page"]


COMPLETE = "__complete"
"""The first word of the calls that completion scripts make; not for people."""


class _Row(NamedTuple):
    """What the list of subcommands says of one, and the module it comes from."""

    summary: str
    home: str
    writes: bool = False


SUBCOMMANDS: dict[str, _Row] = {
    "info": _Row("show header, features, snapshots, bitmaps, sizes", "viewing"),
    "check": _Row("say what is wrong, where, and what to do about it", "checking"),
    "dump": _Row("print every metadata entry", "viewing"),
    "map": _Row("show which guest ranges lie where in the file", "viewing"),
    "du": _Row("show what fills the file, and what deleting snapshots frees", "measuring"),
    "locate": _Row("find what holds a guest offset, or who owns a host offset", "viewing"),
    "report": _Row("write a page with maps and findings, to hand on", "reporting"),
    "explain": _Row("say what a finding means, and what repair does about it", "checking"),
    "completion": _Row("print the completion script for bash, zsh or fish", "completing"),
    "repair": _Row("mend an image", "repairing", writes=True),
    "undo": _Row("take back the last change", "repairing", writes=True),
    "snapshot": _Row("list, apply, delete or keep snapshots", "changing", writes=True),
    "flag": _Row("set or clear the dirty or the corrupt flag", "changing", writes=True),
    "edit": _Row("show or store an integer at a file offset", "changing", writes=True),
    "copy": _Row("copy up to a cluster of bytes within the file", "changing", writes=True),
    "rebase": _Row("write another backing file name", "changing", writes=True),
}
"""Every subcommand, in the order in which they are listed."""


def subcommand(name: str) -> "Subcommand":
    """The subcommand of this name. Raises KeyError for another."""
    home = import_module(f"qcow2_dump.cli.commands.{SUBCOMMANDS[name].home}")
    found: Subcommand = getattr(home, name.upper())
    return found


def subcommand_page(name: str) -> Page:
    """What a subcommand says of itself. Raises KeyError for a name that is none."""
    return subcommand(name).page()


def parse(words: Sequence[str]) -> "Asked":
    """What a command line asks for whose first word is a subcommand.

    Raises UsageError and RequestError, never anything else.
    """
    from qcow2_dump.cli.asked import Asked, HelpRequest

    name, *rest = words
    options = rest[: rest.index("--")] if "--" in rest else rest
    if "--help" in options or "-h" in options:
        return Asked(request=HelpRequest(subcommand_page(name)))
    return subcommand(name).parse(rest)


def main_page() -> Page:
    """What the program says of itself."""
    return Page(
        name="qcow2-dump",
        usage=("qcow2-dump COMMAND ...", "qcow2-dump [classic options] IMAGE"),
        purpose="Dump, check and repair the metadata of qcow2 disk images.",
        sections=(
            Section("commands that only read", _listed(writes=False)),
            Section("commands that change an image", _listed(writes=True)),
            Section(
                "options",
                (
                    Entry(("-h",), None, "show the classic options, those of the original tool"),
                    Entry(("--help",), None, "show this page; COMMAND --help that of a command"),
                    Entry(("-v", "--version"), None, "print the version"),
                ),
            ),
        ),
        notes=("An image that is called like a command is named as ./info.",),
        examples=(
            Example("qcow2-dump check disk.qcow2", "is it sound, and if not, why?"),
            Example("qcow2-dump explain refcount.leak", "what does that mean?"),
            Example("qcow2-dump -m dump -s active disk.qcow2", "every entry, by classic options"),
        ),
    )


def _listed(*, writes: bool) -> tuple[Entry, ...]:
    return tuple(
        Entry((), name, row.summary) for name, row in SUBCOMMANDS.items() if row.writes == writes
    )
