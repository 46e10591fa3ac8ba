"""The options of the original `qcow2-dump`, and what its `-h` says."""

from collections.abc import Iterable
from typing import NamedTuple

from qcow2_dump.cli.pages import Entry, Example, Page, Section

__all__ = ["OPTIONS", "ClassicOption", "classic_page", "option_names"]


class ClassicOption(NamedTuple):
    """One option. ``name`` is its long name, ``value`` what its value is called, if it has one.

    ``synonyms`` are further values, each with the choice that it stands for.
    """

    letter: str
    name: str
    words: str
    value: str | None = None
    choices: tuple[str, ...] = ()
    synonyms: tuple[tuple[str, str], ...] = ()
    alias: tuple[str, str] | None = None

    @property
    def takes_value(self) -> bool:
        """Whether a value belongs to it."""
        return self.value is not None or bool(self.choices)

    @property
    def names(self) -> tuple[str, ...]:
        """Everything it is called: ``-m``, ``--mode``."""
        short = (f"-{self.letter}",) if self.letter else ()
        more = (f"-{self.alias[0]}", f"--{self.alias[1]}") if self.alias else ()
        return (*short, f"--{self.name}", *more)

    @property
    def entry(self) -> Entry:
        """How it is listed."""
        return Entry(self.names, self.value, self.words, self.choices)


_OFF = (("off", "none"),)
_MODES = ("info", "check", "error", "dump", "edit", "copy", "rebase")
_REPAIRS = ("none", "check", "leak", "error", "reuse", "all")
_FLAGS = ("none", "dirty", "corrupt")

_SAFE = (
    ClassicOption(
        "m",
        "mode",
        "info, check (default), error (list bad entries), dump",
        value="MODE",
        choices=_MODES,
    ),
    ClassicOption(
        "o",
        "output",
        "what to show: refcount, snapshot (tables), all (default)",
        value="HALF",
        choices=("refcount", "snapshot", "all"),
    ),
    ClassicOption(
        "s",
        "snapshot",
        "whose tables: active, inactive, all (default) or SNAP",
        value="TREES",
    ),
    ClassicOption(
        "d",
        "display",
        "color (on a terminal; default) or none",
        value="WHEN",
        choices=("color", "none"),
        synonyms=_OFF,
    ),
    ClassicOption("f", "flags", "mode dump: add raw entries and the names of their flags"),
    ClassicOption("c", "compress", "also decompress every compressed cluster"),
    ClassicOption("p", "prealloc", "say what is not where preallocation puts it"),
    ClassicOption("b", "base", "do not look whether the backing file exists"),
    ClassicOption("l", "lock", "keep QEMU from writing meanwhile, or end with 240"),
    ClassicOption("", "json", "print JSON instead of the report"),
    ClassicOption("H", "header", "print the header's fields; needs no image"),
    ClassicOption("h", "help", "show this page"),
    ClassicOption("v", "version", "print the version"),
)
_DANGEROUS = (
    ClassicOption(
        "R",
        "repair",
        "leak, error, reuse, all; check (default), none: read only",
        value="WHAT",
        choices=_REPAIRS,
        synonyms=_OFF,
    ),
    ClassicOption("r", "reuse", "with -R: a copy for each owner of a shared cluster"),
    ClassicOption("A", "apply", "make a snapshot the present disk", value="SNAP"),
    ClassicOption("D", "delete", "delete a snapshot, or all of them", value="SNAP|all"),
    ClassicOption("E", "exclude", "delete every other snapshot; 0: every one", value="SNAP|0"),
    ClassicOption(
        "M",
        "mark",
        "set a flag of the header: dirty, corrupt, none",
        value="FLAG",
        choices=_FLAGS,
        synonyms=_OFF,
    ),
    ClassicOption(
        "C",
        "clean",
        "clear a flag of the header: dirty, corrupt, none",
        value="FLAG",
        choices=_FLAGS,
        synonyms=_OFF,
    ),
)
_OPERANDS = (
    ClassicOption("O", "offset", "edit, copy: where in the file", value="N"),
    ClassicOption("V", "value", "edit: what to store; without it, only show", value="N"),
    ClassicOption("S", "src", "copy: where the bytes are", value="N"),
    ClassicOption(
        "w",
        "width",
        "edit: 1, 2, 4, 8 (default) bytes; copy: any (also -L)",
        value="N",
        alias=("L", "length"),
    ),
    ClassicOption("F", "file", "copy: the file to read; rebase: the backing file", value="FILE"),
)
_HOW = (
    ClassicOption("", "dry-run", "show what would change, and stop"),
    ClassicOption("", "yes", "accepted, and needless: these options never ask"),
    ClassicOption("", "undo-file", "where the undo file goes", value="PATH"),
    ClassicOption("", "no-undo", "write no undo file"),
    ClassicOption("", "force-unlocked", "go on where the image cannot be locked"),
    ClassicOption("", "free-orphans", "with -R, -M dirty: also free what may be guest data"),
)

OPTIONS: tuple[ClassicOption, ...] = (*_SAFE, *_DANGEROUS, *_OPERANDS, *_HOW)
"""Every option."""


def classic_page() -> Page:
    """What `-h` shows: the options that only read apart from those that write."""
    return Page(
        name="qcow2-dump (classic options)",
        usage=("qcow2-dump [options] IMAGE",),
        purpose="The options of the original qcow2-dump; --help shows the commands. Numbers are "
        "decimal or 0x hexadecimal. SNAP is an ID, a name, or snapshot[N] by position.",
        sections=(
            Section("safe, these only read", _entries(_SAFE)),
            Section(
                "dangerous, these change the image, as do -m edit, copy, rebase",
                _entries(_DANGEROUS + _OPERANDS + _HOW),
            ),
        ),
        notes=(),
        examples=(
            Example("qcow2-dump -m error -s active disk.qcow2"),
            Example("qcow2-dump -m dump -o snapshot -f disk.qcow2 | less"),
        ),
    )


def option_names(names: Iterable[str]) -> str:
    """Options as they are typed: ``-A and -D``."""
    shown = {option.name: option.names[0] for option in OPTIONS}
    return " and ".join(shown[name] for name in names)


def _entries(options: tuple[ClassicOption, ...]) -> tuple[Entry, ...]:
    """The options as the page lists them; an alias is told in words."""
    return tuple(o.entry._replace(names=o.names[:2]) for o in options)
