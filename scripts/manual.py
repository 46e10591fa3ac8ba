"""The command line as documents: a reference in Markdown and a manual page, from the help pages."""

import re
from collections.abc import Iterable, Iterator

from qcow2_dump.checks.verdict import Verdict
from qcow2_dump.cli.classic_options import classic_page
from qcow2_dump.cli.modern import SUBCOMMANDS, main_page, subcommand_page
from qcow2_dump.cli.pages import Entry, Example, Page, Section

__all__ = ["manual_page", "reference"]

_GENERATED = "Generated from the help pages by `python -m scripts.generate_docs`: do not edit."

_STATUSES = {
    Verdict.GOOD: "nothing is wrong, or nothing but notes",
    Verdict.LEAK: "clusters are allocated that nothing uses",
    Verdict.COPIED: "COPIED flags disagree with the refcounts",
    Verdict.FLAGGED: "sound, but marked corrupt in the header",
    Verdict.WRONG: "refcounts are too low, or missing",
    Verdict.SNAPSHOT: "the snapshot table or a record of it is damaged",
    Verdict.CORRUPT: "any other damage",
    Verdict.FLAG: "marked corrupt, and not examined in full",
    Verdict.OTHER: "nothing is damaged, but something needs attention",
}
_FAILURES = {
    "141": "the reader of the output went away",
    "161": "not supported",
    "191": "an optional part of the program is not installed",
    "228": "no space left for the output",
    "234": "the command line makes no sense, the file is no qcow2 image, or a change was not "
    "agreed to or would lose something",
    "239": "the page to write is another file that exists already",
    "240": "somebody else has locked the image or changed it meanwhile, or an earlier change was "
    "interrupted",
    "243": "no permission",
    "251": "input or output failed, or an undo file cannot be used",
    "254": "there is no such file",
    "128 + N": "ended by signal N; a change under way was taken back first",
    "256 - N": "any other error, N being its errno",
}
_WHOSE = (
    "check, dump, report and the classic modes check, error and dump return the verdict of the "
    "image, or the worst of several. repair returns that of the image as it now is, or with "
    "--dry-run as it is. The others return 0 unless they failed."
)
_ENVIRONMENT = {
    "COLUMNS, LINES": "the size of the terminal that du and map --picture draw for",
    "NO_COLOR": "when set, there are no colours unless --color always asks for them",
    "QCOW2_DUMP_TRACEBACK": "when set, an internal error shows where in the program it happened",
}


def reference() -> str:
    """``docs/cli.md``: every command and option."""
    return "\n".join(_reference_lines()).rstrip() + "\n"


def manual_page() -> str:
    """``docs/qcow2-dump.1``: the same for ``man``."""
    return "\n".join(_manual_lines()) + "\n"


def _reference_lines() -> Iterator[str]:
    yield f"<!-- {_GENERATED} -->\n"
    yield "# The command line\n"
    yield from _markdown_page(main_page(), level=2, heading="qcow2-dump")
    for name in SUBCOMMANDS:
        yield from _markdown_page(subcommand_page(name), level=2, heading=name)
    yield from _markdown_page(classic_page(), level=2, heading="Classic options")
    yield "## Exit status\n"
    yield f"{_WHOSE}\n"
    yield "| status | meaning |\n|---|---|"
    yield from (f"| {status} | {words} |" for status, words in _statuses())
    yield "\n## Environment\n"
    yield "| variable | meaning |\n|---|---|"
    yield from (f"| `{name}` | {words} |" for name, words in _ENVIRONMENT.items())


def _markdown_page(page: Page, *, level: int, heading: str) -> Iterator[str]:
    yield f"{'#' * level} {heading}\n"
    yield "```"
    yield from page.usage
    yield "```\n"
    yield f"{page.purpose}\n"
    for section in page.sections:
        if section.heading:
            yield f"{section.heading[:1].upper()}{section.heading[1:]}:\n"
        yield "| | |\n|---|---|"
        for entry in section.entries:
            yield f"| `{_cell(entry.shown)}` | {_cell(_with_choices(entry))} |"
        yield ""
    for note in page.notes:
        yield f"{note}\n"
    yield "```sh"
    width = max(len(example.line) for example in page.examples)
    for line, words in page.examples:
        yield f"{line:<{width}}  # {words}" if words else line
    yield "```\n"


def _cell(words: str) -> str:
    """Words that may stand in a table."""
    return words.replace("|", "\\|")


def _with_choices(entry: Entry) -> str:
    """The words of an entry, and its choices where neither name nor words have them."""
    said = set(re.findall(r"[\w-]+", f"{entry.shown} {entry.words}"))
    if set(entry.choices) <= said:
        return entry.words
    return f"{entry.words} ({', '.join(entry.choices)})"


def _manual_lines() -> Iterator[str]:
    yield f'.\\" {_GENERATED}'
    yield ".TH QCOW2-DUMP 1"
    yield ".SH NAME"
    yield rf"qcow2\-dump \- {_roff('dump, check and repair the metadata of qcow2 disk images')}"
    yield ".SH SYNOPSIS"
    yield from _manual_usage(main_page().usage)
    yield ".SH DESCRIPTION"
    yield _roff(main_page().purpose)
    yield from _manual_sections(main_page().sections)
    yield from _paragraphs(main_page().notes)
    yield ".SH COMMANDS"
    for name in SUBCOMMANDS:
        yield from _manual_part(subcommand_page(name), name)
    yield ".SH CLASSIC OPTIONS"
    yield from _manual_usage(classic_page().usage)
    yield ".PP"
    yield _roff(classic_page().purpose)
    yield from _manual_sections(classic_page().sections)
    yield ".SH EXIT STATUS"
    yield _roff(_WHOSE)
    yield from _terms(_statuses())
    yield ".SH ENVIRONMENT"
    yield from _terms(_ENVIRONMENT.items())
    yield ".SH EXAMPLES"
    yield from _manual_examples(main_page().examples + classic_page().examples)
    yield ".SH SEE ALSO"
    yield ".BR qemu\\-img (1)"


def _manual_part(page: Page, name: str) -> Iterator[str]:
    yield f".SS {_roff(name)}"
    yield from _manual_usage(page.usage)
    yield ".PP"
    yield _roff(page.purpose)
    yield from _manual_sections(page.sections)
    yield from _paragraphs(page.notes)
    yield ".PP"
    yield "Examples:"
    yield ".PP"
    yield from _manual_examples(page.examples)


def _manual_usage(usage: tuple[str, ...]) -> Iterator[str]:
    for number, line in enumerate(usage):
        if number:
            yield ".br"
        yield rf"\fB{_roff(line)}\fR"


def _manual_sections(sections: tuple[Section, ...]) -> Iterator[str]:
    for section in sections:
        if section.heading and section.heading != "options":
            yield ".PP"
            yield _roff(f"{section.heading[:1].upper()}{section.heading[1:]}:")
        yield from _terms((entry.shown, _with_choices(entry)) for entry in section.entries)


def _terms(terms: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, words in terms:
        yield ".TP"
        yield rf"\fB{_roff(term)}\fR"
        yield _roff(words)


def _paragraphs(notes: tuple[str, ...]) -> Iterator[str]:
    for note in notes:
        yield ".PP"
        yield _roff(note)


def _manual_examples(examples: tuple[Example, ...]) -> Iterator[str]:
    width = max(len(example.line) for example in examples)
    yield ".nf"
    for line, words in examples:
        yield _roff(f"  {line:<{width}}  # {words}" if words else f"  {line}")
    yield ".fi"


def _statuses() -> list[tuple[str, str]]:
    verdicts = [(str(v.value), f"{v.label}: {_STATUSES[v]}") for v in sorted(Verdict)]
    return [*verdicts, *_FAILURES.items()]


def _roff(words: str) -> str:
    """Words as roff prints them: no line may look like a request, no dash like a hyphen."""
    words = words.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    words = words.replace("`", "\\(ga").replace("~", "\\(ti").replace("^", "\\(ha")
    return f"\\&{words}" if words.startswith(".") else words
