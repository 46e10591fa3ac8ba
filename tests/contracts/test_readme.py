"""What the documents show is what happens: commands, Python, quoted code, tables, links."""

import re
from pathlib import Path

import pytest

from qcow2_dump import Verdict
from qcow2_dump.report import document
from scripts import run_documents
from scripts.run_documents import DOCUMENTS, ROOT, Block, blocks, difference
from tests.support.qemu import require_qemu

RUNNABLE = [block for name in DOCUMENTS for block in blocks(name)]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (ROOT, ROOT / "docs", ROOT / "examples")
    for path in folder.glob("*.md")
)
QUOTED = re.compile(r"^From `([^`]+)`:\n\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)(?:#([^)]*))?\)")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("block", RUNNABLE, ids=lambda block: block.name)
def test_a_document_shows_what_happens(block: Block) -> None:
    if block.needs_qemu:
        require_qemu()
    assert not difference(block), "run: python -m scripts.run_documents --write"


def test_every_document_with_commands_is_run() -> None:
    with_blocks = {
        name for name in PAGES if re.search("^```(console|text)$", read(name), re.MULTILINE)
    }
    assert with_blocks <= set(DOCUMENTS)
    assert sum(block.document == "README.md" for block in RUNNABLE) > 5


def test_a_wrong_document_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run_documents, "ROOT", tmp_path)
    text = "```console\n$ echo one\none\n$ false\n$ echo $?\n1\n$ echo in 3.21 s\nin 0.44 s\n```\n"
    text += "\n```python\nprint(2)\n```\n\n```text\n2\n```\n"
    (tmp_path / "page.md").write_text(text)
    assert [difference(block) for block in blocks("page.md")] == ["", ""]
    (tmp_path / "page.md").write_text(text.replace("\none\n", "\ntwo\n").replace("\n2\n", "\n3\n"))
    console, python = (difference(block) for block in blocks("page.md"))
    assert "-two\n+one" in console
    assert "-3\n+2" in python


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for target, anchor in LINK.findall(read(name)):
        path = (ROOT / name).parent / target
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{target}#{anchor}"


def anchors(text: str) -> set[str]:
    """The anchors that Markdown viewers derive from headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", words.lower()).replace(" ", "-") for words in headings}


def test_the_exit_statuses_are_the_verdicts() -> None:
    rows = re.findall(r"^\| (\d) \| ([a-z-]+) \|", read("README.md"), re.MULTILINE)
    assert rows == [(str(verdict.value), verdict.label) for verdict in Verdict]


def test_contributing_quotes_the_code() -> None:
    quotes = QUOTED.findall(read("CONTRIBUTING.md"))
    assert len(quotes) == 3
    for name, code in quotes:
        assert code in read(name), name


@pytest.mark.parametrize(
    "keys",
    [document.CheckDocument, document.ErrorDocument, document.FindingDocument, document.Kind],
    ids=lambda keys: keys.__name__,
)
def test_the_json_page_names_every_key(keys: type) -> None:
    page = read("docs/json.md")
    assert [key for key in keys.__annotations__ if f"`{key}`" not in page] == []
