"""What a command says of itself. `--help`, the reference and the manual show the same pages."""

import textwrap
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Entry", "Example", "Page", "Section", "help_lines"]

_WIDTH = 80
_WIDEST_NAME = 24


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


def help_lines(page: Page) -> Iterator[str]:
    """The page for a terminal of 80 columns, without line ends."""
    for number, usage in enumerate(page.usage):
        yield from textwrap.wrap(
            usage,
            _WIDTH,
            initial_indent="       " if number else "usage: ",
            subsequent_indent=" " * 11,
            break_on_hyphens=False,
        )
    yield ""
    yield from _wrapped(page.purpose)
    names = [len(entry.shown) for section in page.sections for entry in section.entries]
    column = max((width for width in names if width <= _WIDEST_NAME), default=0) + 4
    for section in page.sections:
        yield ""
        if section.heading:
            yield f"{section.heading}:"
        yield from _entry_lines(section.entries, column)
    for note in page.notes:
        yield ""
        yield from _wrapped(note)
    yield ""
    yield "examples:"
    yield from _example_lines(page.examples)


def _entry_lines(entries: tuple[Entry, ...], column: int) -> Iterator[str]:
    """Names to the left, words from a column on; a long name has a line of its own."""
    for entry in entries:
        words = textwrap.wrap(entry.words, _WIDTH - column, break_on_hyphens=False)
        name = f"  {entry.shown}"
        if len(name) > column - 2:
            yield name
        else:
            yield f"{name:<{column}}{words.pop(0)}"
        yield from (f"{' ' * column}{line}" for line in words)


def _example_lines(examples: tuple[Example, ...]) -> Iterator[str]:
    width = max(len(example.line) for example in examples)
    for line, words in examples:
        yield f"  {line:<{width}}  {words}".rstrip()


def _wrapped(words: str) -> list[str]:
    return textwrap.wrap(words, _WIDTH, break_on_hyphens=False)
