"""What a shell may offer next: asked for by the completion scripts, through a hidden call.

``__complete SHELL INDEX WORD...`` prints the candidates for the word at INDEX of a line (from 0,
the name of the program left out), each with a tab and what it means, and ``:files`` where a path
belongs. It never fails and never complains: a completion that cannot be made is none.
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.classic_options import OPTIONS
from qcow2_dump.cli.modern import SUBCOMMANDS, subcommand
from qcow2_dump.cli.output import Output
from qcow2_dump.cli.pages import Entry

__all__ = ["FILES", "Candidate", "candidates", "complete"]

_MAX_SNAPSHOTS = 200
_LONGEST_NAME = 80
_PATHS = frozenset({"IMAGE", "PATH", "FILE", "BACKING"})
_WITH_SNAPSHOTS = {
    "SNAP": (),
    "SNAP|all": ("all",),
    "SNAP|0": ("0",),
    "TREES": ("active", "inactive", "all"),
}


class Candidate(NamedTuple):
    """A word to offer, and what it means."""

    word: str
    words: str = ""


FILES = Candidate(":files")
"""Stands for the paths that the shell itself knows."""


def complete(words: Sequence[str]) -> int:
    """Print the candidates that ``SHELL INDEX WORD...`` asks for; returns the exit status."""
    try:
        shell, index, *line = words
        found = candidates(shell, line, int(index))
    except Exception:  # noqa: BLE001 - a half-typed line is no place for complaints
        found = []
    output = Output()
    output.lines(f"{word}\t{means}" if means else word for word, means in found)
    output.flush()
    return exit_status.OK


def candidates(shell: str, line: Sequence[str], index: int) -> list[Candidate]:
    """What may stand at a position of a line. Raises nothing for a line that makes no sense."""
    words = [*line[: index + 1], *[""] * (index + 1 - len(line))]
    after = list(line[index + 1 :])
    if shell == "bash":
        words, after = _of_bash(words), _of_bash(after)
    current = words[-1]
    found = list(_Line(words[:-1], current, after).candidates())
    if shell != "bash":
        return found
    # bash takes a value after "=" for a word of its own, and filters nothing.
    _, equals, value = current.partition("=")
    cut = len(current) - len(value) if current.startswith("--") and equals else 0
    return [
        candidate._replace(word=candidate.word[cut:]) if candidate != FILES else candidate
        for candidate in found
        if candidate == FILES or candidate.word.startswith(current)
    ]


class _Line:
    """A line that is being typed: what stands before the current word, and after it."""

    def __init__(self, before: list[str], current: str, after: list[str]) -> None:
        self._current = current
        self._first = not before
        name = before[0] if before and before[0] in SUBCOMMANDS else None
        if name is None:
            self._options = [option.entry for option in OPTIONS]
            self._operands = [Entry((), "IMAGE", "")]
            self._many = False
        else:
            self._options, self._operands, self._many = _grammar(name)
            before = before[1:]
        self._typed: list[str] = []
        self._pending: Entry | None = None
        self._ended = False
        self._read(before)
        self._position = len(self._typed)
        self._value_of: Entry | None = self._pending
        self._words_only = self._ended
        self._pending = None
        self._read(after)

    def candidates(self) -> Iterator[Candidate]:
        """What may stand where the current word stands."""
        current = self._current
        if self._value_of is not None:
            yield from self._values(self._value_of)
        elif not self._words_only and current.startswith("--") and "=" in current:
            name = current.partition("=")[0]
            for option in self._options:
                if name in option.names and _takes_value(option):
                    for word, means in self._values(option):
                        shown = word if word == FILES.word else f"{name}={word}"
                        yield Candidate(shown, means)
        elif not self._words_only and current.startswith("-"):
            for option in self._options:
                yield from (Candidate(name, option.words) for name in option.names)
        else:
            if self._first:
                for name, row in SUBCOMMANDS.items():
                    yield Candidate(name, row.summary)
            yield from self._operand()

    def _read(self, words: list[str]) -> None:
        """Tell operands from options and their values."""
        for word in words:
            if self._pending is not None:
                self._pending = None
            elif self._ended or not word.startswith("-") or word == "-":
                self._typed.append(word)
            elif word == "--":
                self._ended = True
            else:
                self._pending = self._waiting(word)

    def _waiting(self, word: str) -> Entry | None:
        """The option whose value is the next word."""
        names = [word] if word.startswith("--") else [f"-{letter}" for letter in word[1:]]
        for position, name in enumerate(names, 1):
            option = next((o for o in self._options if name in o.names), None)
            if option is not None and _takes_value(option):
                return option if position == len(names) else None
        return None

    def _operand(self) -> Iterator[Candidate]:
        position = min(self._position, len(self._operands) - 1) if self._many else self._position
        if position < len(self._operands):
            yield from self._values(self._operands[position])

    def _values(self, entry: Entry) -> Iterator[Candidate]:
        """What an operand or the value of an option may be."""
        yield from map(Candidate, entry.choices)
        value = entry.value or ""
        if value in _PATHS:
            yield FILES
        elif value == "CODE":
            from qcow2_dump.checks.catalogue import RULES

            yield from (Candidate(rule.code, rule.title) for rule in RULES.values())
        elif value in _WITH_SNAPSHOTS:
            yield from map(Candidate, _WITH_SNAPSHOTS[value])
            image = next(filter(os.path.isfile, map(os.path.expanduser, self._typed)), None)
            if image is not None:
                yield from _snapshots(image)


def _grammar(name: str) -> tuple[list[Entry], list[Entry], bool]:
    """The options and the operands of a subcommand, and whether the last may be repeated."""
    from qcow2_dump.cli.subcommand import option_entries

    found = subcommand(name)
    operands = [Entry((), o.value, o.words, o.choices) for o in found.operands]
    return option_entries(found.options()), operands, any(o.many for o in found.operands)


def _takes_value(option: Entry) -> bool:
    return option.value is not None or bool(option.choices)


def _snapshots(path: str) -> Iterator[Candidate]:
    """The IDs and names of an image's snapshots; a position where neither can be typed."""
    from qcow2_dump.image.image import open_image
    from qcow2_dump.image.resolver import NeverLook
    from qcow2_dump.report.escape import quoted

    with open_image(path, resolver=NeverLook()) as image:
        for entry in image.snapshot_table.entries[:_MAX_SNAPSHOTS]:
            record = entry.record
            identity, name = _harmless(record.id), _harmless(record.name)
            if identity:
                yield Candidate(identity, f"snapshot {quoted(record.name)}")
            if name and name != identity:
                yield Candidate(name, f"snapshot {quoted(record.id)}")
            if not identity and not name:
                yield Candidate(f"snapshot[{entry.position}]", f"snapshot {quoted(record.name)}")


def _harmless(name: bytes) -> str:
    """The name if a shell can be trusted with it, or nothing.

    Names come from the image: what is not printable could be an escape sequence, and what
    starts with a dash or a colon would be taken for something else.
    """
    text = name.decode("utf-8", "replace")
    bad = not text.isprintable() or "\ufffd" in text or text.startswith(("-", ":"))
    return "" if bad or len(text) > _LONGEST_NAME else text


def _of_bash(words: Sequence[str]) -> list[str]:
    """Words as they will reach the program: bash splits them at ``=`` and leaves quotes in."""
    whole: list[str] = []
    for word in words:
        if whole and (word == "=" or whole[-1].endswith("=")) and whole[-1].startswith("--"):
            whole[-1] += word
        else:
            whole.append(word)
    return [_unquoted(word) for word in whole]


def _unquoted(word: str) -> str:
    try:
        return "".join(shlex.split(word))
    except ValueError:  # a quote that is still open
        return word.lstrip("\"'").replace("\\", "")
