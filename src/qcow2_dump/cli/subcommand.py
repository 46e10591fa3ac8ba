"""What a subcommand is made of, and how its words are read.

Options are the business of argparse. Operands are not: it cannot take them in any order among
the options, nor one that starts with a dash after ``--``, in all the versions we support.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from qcow2_dump.cli.asked import Asked
from qcow2_dump.cli.pages import Entry, Example, Page, Section
from qcow2_dump.cli.usage import UsageError, choose, listed, read_number, read_size

__all__ = ["Operand", "Options", "Subcommand", "number", "option_entries", "size"]

_HELP = Entry(("-h", "--help"), None, "show this page")


class _Formatter(argparse.HelpFormatter):
    """That of argparse, kept from loading what it takes to ask for the width of the terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=80)


class Options(argparse.ArgumentParser):
    """The options of a subcommand; what they mean to argparse is all it is asked for."""

    def __init__(self, prog: str) -> None:
        super().__init__(
            prog=prog, add_help=False, allow_abbrev=False, usage="", formatter_class=_Formatter
        )

    def error(self, message: str) -> NoReturn:
        """Raises UsageError instead of ending the process with a status that means a verdict."""
        raise UsageError(message.removeprefix("argument "))


class Operand(NamedTuple):
    """A word that is no option. ``name`` is that of its value in the result."""

    name: str
    value: str
    words: str
    choices: tuple[str, ...] = ()
    optional: bool = False
    many: bool = False

    @property
    def shown(self) -> str:
        """How it stands in the usage line."""
        value = "|".join(self.choices) or self.value
        value = f"{value}..." if self.many else value
        return f"[{value}]" if self.optional else value


class Subcommand(NamedTuple):
    """One subcommand: what it says of itself and accepts, and what that becomes.

    ``add_options`` fills the parser; ``ask`` makes a request of what was parsed, and raises
    RequestError for what contradicts itself.
    """

    name: str
    purpose: str
    operands: tuple[Operand, ...]
    add_options: Callable[[Options], None]
    ask: Callable[[argparse.Namespace], Asked]
    examples: tuple[Example, ...]
    notes: tuple[str, ...] = ()

    def options(self) -> Options:
        """The parser of its options."""
        parser = Options(f"qcow2-dump {self.name}")
        self.add_options(parser)
        return parser

    def parse(self, words: Sequence[str]) -> Asked:
        """What the words after the name ask for. Raises UsageError and RequestError."""
        parser = self.options()
        end = words.index("--") if "--" in words else len(words)
        # The operands come back as what argparse did not know.
        arguments, rest = parser.parse_known_args(list(words[:end]))
        for word in rest:
            if word.startswith("-") and word != "-":
                names = [entry.names[-1] for entry in option_entries(parser)]
                raise UsageError(f"there is no option {word!r}; there are: {', '.join(names)}")
        self._bind([*rest, *words[end + 1 :]], arguments)
        return self.ask(arguments)

    def page(self) -> Page:
        """What it says of itself."""
        operands = tuple(Entry((), operand.shown, operand.words) for operand in self.operands)
        usage = ["qcow2-dump", self.name, "[options]", *(o.shown for o in self.operands)]
        sections = [Section("", operands)] if operands else []
        return Page(
            name=f"qcow2-dump {self.name}",
            usage=(" ".join(usage),),
            purpose=self.purpose,
            sections=(*sections, *_sections(self.options())),
            notes=self.notes,
            examples=self.examples,
        )

    def _bind(self, words: list[str], arguments: argparse.Namespace) -> None:
        """Give each operand its words."""
        for operand in self.operands:
            if not words and not operand.optional:
                missing = listed(operand.choices) if operand.choices else operand.value
                raise UsageError(f"{missing} is missing")
            if operand.many:
                value: Any = tuple(words)
                words = []
            else:
                value = words.pop(0) if words else None
            if operand.choices and value is not None:
                choose(operand.value, value, operand.choices)
            setattr(arguments, operand.name, value)
        if words:
            raise UsageError(f"{words[0]!r} is one operand too many")


def number(text: str) -> int:
    """The type of an option that takes a number."""
    try:
        return read_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def size(text: str) -> int:
    """The type of an option that takes a number of bytes."""
    try:
        return read_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def option_entries(parser: argparse.ArgumentParser) -> list[Entry]:
    """The options of a parser, `--help` last."""
    return [entry for section in _sections(parser) for entry in section.entries]


def _sections(parser: argparse.ArgumentParser) -> list[Section]:
    """The options of a parser, each under the heading of its group."""
    sections = []
    for group in parser._action_groups:
        entries = tuple(_entry(action) for action in group._group_actions)
        if entries:
            heading = "options" if group.title == "options" else str(group.title)
            sections.append(Section(heading, entries))
    last = sections.pop() if sections else Section("options", ())
    return [*sections, last._replace(entries=(*last.entries, _HELP))]


def _entry(action: argparse.Action) -> Entry:
    return Entry(
        names=tuple(action.option_strings),
        value=None if action.metavar is None else str(action.metavar),
        words=(action.help or "") % {"default": action.default},
        choices=tuple(map(str, action.choices or ())),
    )
