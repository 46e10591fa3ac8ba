"""What may be loaded and named where: start-up stays light, and output has one home."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import qcow2_dump
from tests.builder.std import std_image

PACKAGE = Path(qcow2_dump.__file__).parent
HEAVY = ("jinja2", "numpy", "tqdm", "zstandard")
NO_START = (
    *("jinja2", "tqdm", "zstandard"),
    *("asyncio", "decimal", "importlib.metadata", "json", "logging", "pathlib", "shutil"),
    *("subprocess", "tempfile", "threading"),
    *("qcow2_dump.plan", "qcow2_dump.planners"),
)
"""What no command that only reads waits for when it starts, unless it is asked for more."""
SPARED = {
    "--help": ("numpy", "argparse", "dataclasses", "struct", "qcow2_dump.image"),
    "info": ("numpy", "shlex", "textwrap", "qcow2_dump.events"),
    "check": ("qcow2_dump.checks.listing", "qcow2_dump.checks.maps", "qcow2_dump.checks.space"),
    "-m check": ("argparse", "qcow2_dump.checks.maps", "qcow2_dump.checks.space"),
    "-m dump": ("argparse", "qcow2_dump.checks.maps", "qcow2_dump.checks.space"),
}
"""What a command does not load either: the slowest that it could."""
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def loaded_by(statements: str, modules: tuple[str, ...] = HEAVY) -> set[str]:
    """Those of the modules that a fresh interpreter holds after it ran the statements."""
    report = f"import sys; print(*(name for name in {modules!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{statements}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.splitlines()[-1].split())


def run_module(*arguments: str) -> str:
    """Statements that do what `python -m qcow2_dump` does with these arguments, and go on."""
    return (
        "import runpy, sys\n"
        f"sys.argv = ['qcow2-dump', *{arguments!r}]\n"
        "try:\n"
        "    runpy.run_module('qcow2_dump', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
    )


def test_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import qcow2_dump") == set()


def test_the_probe_sees_a_heavy_module() -> None:
    assert loaded_by("import numpy") == {"numpy"}


def test_help_loads_nothing_heavy() -> None:
    assert loaded_by(run_module("--help")) == set()


@pytest.mark.parametrize("command", SPARED)
def test_a_command_starts_without_what_it_does_not_need(command: str, tmp_path: Path) -> None:
    image = std_image().write_to(tmp_path / "disk.qcow2")
    words = [command] if command == "--help" else [*command.split(), str(image)]
    spared = NO_START + SPARED[command]
    # What numpy brings along is its own affair, and not the same in all versions.
    brought = set() if "numpy" in spared else loaded_by("import numpy", spared)
    assert loaded_by(run_module(*words), spared) - brought == set()


def names_used(tree: ast.AST) -> Iterator[str]:
    """Every `print`, `sys.stdout` and `sys.exit` of a module, however it was imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "print":
            yield "print"
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sys":
            yield f"sys.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "sys":
            yield from (f"sys.{alias.name}" for alias in node.names)


def homes(name: str) -> tuple[str, ...]:
    """The packages in which the name may occur."""
    everywhere = ("",)
    return {
        "print": ("report/", "cli/"),
        "sys.stdout": ("report/", "cli/"),
        "sys.exit": ("cli/", "__main__.py"),
    }.get(name, everywhere)


@pytest.mark.parametrize("module", MODULES)
def test_output_and_exit_stay_at_home(module: str) -> None:
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    strays = {name for name in names_used(tree) if not module.startswith(homes(name))}
    assert strays == set()
