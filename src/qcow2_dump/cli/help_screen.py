"""A page of help as lines for a terminal. Apart from pages, which every command makes."""

import textwrap
from collections.abc import Iterator

from qcow2_dump.cli.pages import Entry, Example, Page

__all__ = ["help_lines"]

_WIDTH = 80
_WIDEST_NAME = 24


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
