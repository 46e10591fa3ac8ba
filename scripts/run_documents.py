"""Run the commands that the documents show: ``python -m scripts.run_documents``.

A block ```` ```console ```` is run by a shell in the repository's root: lines that start with
``$ `` are commands (``> `` continues one), and what follows must be what they print. A block
```` ```python ```` is run when a block ```` ```text ```` follows it, which must be what it prints.
Times are not compared. Differences are printed and give status 1; ``--write`` puts the real output
into the documents instead.
"""

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/guide.md",
    "docs/repair.md",
    "docs/python-api.md",
    "docs/json.md",
    "docs/differences.md",
    "docs/dump.md",
)
SECONDS = 120

_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PYTHON = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TIMES = (
    (re.compile(r"\bin \d+\.\d+ s\b"), "in 0.01 s"),
    (re.compile(r'"seconds": [\d.e-]+'), '"seconds": 0.01'),
)
_MARK = "=== end of command ==="


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a document: what to run, and where the output that it shows starts and ends.

    ``commands`` are those of a console block; a Python block has its source as the only one.
    """

    document: str
    line: int
    language: str
    commands: tuple[str, ...]
    shown: str
    start: int
    end: int

    @property
    def name(self) -> str:
        """Where it is, e.g. ``README.md:12``."""
        return f"{self.document}:{self.line}"

    @property
    def needs_qemu(self) -> bool:
        """Whether a QEMU tool is started."""
        return any(re.search(r"(^|[|&;] *)qemu-", command) for command in self.commands)


def blocks(document: str) -> list[Block]:
    """The blocks of a document (a path below the root) that can be run, in their order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = [_console(document, text, match) for match in _CONSOLE.finditer(text)]
    for match in _PYTHON.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        found.append(
            Block(document, line, "python", (match[1],), match[2], match.start(2), match.end(2))
        )
    return sorted(found, key=lambda block: block.start)


def output(block: Block) -> str:
    """What the block should show, by running it.

    Raises CalledProcessError or ValueError when Python fails, which is nothing to show.
    """
    with _programs() as environment:
        if block.language == "python":
            return _normal(_run([sys.executable, "-c", block.commands[0]], environment, check=True))
        shown = _transcript(block, environment)
    if "Traceback (most recent call last)" in shown:
        raise ValueError(f"{block.name}: a command failed\n{shown}")
    return _normal(shown)


def _console(document: str, text: str, match: re.Match[str]) -> Block:
    line = text.count("\n", 0, match.start()) + 1
    commands = re.findall(r"^\$ (.*(?:\n> .*)*)", match[1], re.MULTILINE)
    return Block(
        document,
        line,
        "console",
        tuple(command.replace("\n> ", "\n") for command in commands),
        match[1],
        match.start(1),
        match.end(1),
    )


def _transcript(block: Block, environment: dict[str, str]) -> str:
    """The commands, each followed by its output; `$?` goes from one to the next."""
    script = "".join(
        f'{command}\nstatus=$?; echo "{_MARK}"; (exit $status)\n' for command in block.commands
    )
    printed = _run(["bash", "-c", script], environment).split(f"{_MARK}\n")
    shown = ["$ " + command.replace("\n", "\n> ") + "\n" for command in block.commands]
    return "".join(part for pair in zip(shown, printed, strict=False) for part in pair)


def _run(words: list[str], environment: dict[str, str], *, check: bool = False) -> str:
    done = subprocess.run(  # noqa: S603 (the documents' own commands, which is what it is for)
        words,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=check,
        timeout=SECONDS,
    )
    return done.stdout


@contextmanager
def _programs() -> Iterator[dict[str, str]]:
    """An environment in which this checkout's program and this Python are found first."""
    with tempfile.TemporaryDirectory() as folder:
        for name, words in (("qcow2-dump", "-m qcow2_dump"), ("python", "")):
            program = Path(folder) / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            program.chmod(0o755)
        yield {
            **os.environ,
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "COLUMNS": "80",
            "LC_ALL": "C.UTF-8",
        }


def _normal(text: str) -> str:
    """The text with times that are always the same, and without spaces at line ends."""
    for pattern, instead in _TIMES:
        text = pattern.sub(instead, text)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


def difference(block: Block) -> str:
    """How the output differs from what the block shows; empty where it does not."""
    shown, real = _normal(block.shown), output(block)
    lines = difflib.unified_diff(
        shown.splitlines(), real.splitlines(), block.name, "the real output", lineterm=""
    )
    return "\n".join(lines)


def _write(document: str) -> None:
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    for block in reversed(blocks(document)):
        text = text[: block.start] + output(block) + text[block.end :]
    path.write_text(text, encoding="utf-8")


def main() -> int:
    """Run the documents; 1 when one shows something else than what is printed."""
    parser = argparse.ArgumentParser(prog="python -m scripts.run_documents")
    parser.add_argument("--write", action="store_true", help="write the real output")
    parser.add_argument("documents", nargs="*", default=DOCUMENTS)
    options = parser.parse_args()
    if options.write:
        for document in options.documents:
            _write(document)
        return 0
    found = [difference(block) for document in options.documents for block in blocks(document)]
    sys.stdout.write("".join(f"{words}\n" for words in found if words))
    return 1 if any(found) else 0


if __name__ == "__main__":
    sys.exit(main())
