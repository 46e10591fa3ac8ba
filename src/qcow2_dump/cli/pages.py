"""What a command says of itself. `--help`, the reference and the manual show the same pages."""

from typing import NamedTuple

__all__ = ["Entry", "Example", "Page", "Section"]


class Entry(NamedTuple):
    """An option or an operand: its names, the name of its value, and what it is for.

    ``names`` are those of an option (``-m``, ``--mode``), none for an operand. ``value`` is what
    its value is called; without it, the ``choices`` are shown. They are the only values that it
    takes, if there are any.
    """

    names: tuple[str, ...]
    value: str | None
    words: str
    choices: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """How it is written in a list: ``--format text|jsonl|csv``."""
        value = self.value or "|".join(self.choices)
        return " ".join(part for part in (", ".join(self.names), value) if part)


class Section(NamedTuple):
    """Entries under a heading."""

    heading: str
    entries: tuple[Entry, ...]


class Example(NamedTuple):
    """A command line, and what it is good for."""

    line: str
    words: str = ""


class Page(NamedTuple):
    """A command: how it is called, what it does, all it accepts, what to know, examples."""

    name: str
    usage: tuple[str, ...]
    purpose: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    examples: tuple[Example, ...]
