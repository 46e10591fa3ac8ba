"""The page on JSON names every key that the commands print."""

import json
from pathlib import Path

import pytest

from tests.cli.running import run

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "examples" / "sound.qcow2"


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("Info", ("info", "--json", IMAGE)),
        ("Changes", ("edit", "--json", "--dry-run", IMAGE, "0x48", "2")),
        ("Changes", ("edit", "--json", IMAGE, "0x48")),
        ("Changes", ("undo", "--json", "--list", IMAGE)),
        ("Changes", ("snapshot", "list", "--json", IMAGE)),
        ("Map", ("map", "--json", "--details", IMAGE)),
        ("Du", ("du", "--json", "--sets", "--without", "1", IMAGE)),
        ("Locate", ("locate", "--json", IMAGE, "--guest", "0")),
        ("Locate", ("locate", "--json", IMAGE, "--host", "0x5000")),
    ],
)
def test_every_key_is_on_the_page(section: str, words: tuple[str | Path, ...]) -> None:
    page = (ROOT / "docs" / "json.md").read_text()
    text = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    document = json.loads(run(*words).stdout)
    whole = document[0] if isinstance(document, list) else document
    parts = [whole, *whole.get("mappings", []), *whole.get("claimants", [])]
    parts += [*whole.get("changes", []), *whole.get("reasons", {}).values()]
    for name in ("trees", "sets", "doubts"):
        parts += whole.get(name) or []
    for key in {key for part in parts for key in part} - {"schema"}:
        assert f"`{key}`" in text, key
