"""Write the documents that follow from the code: run it as ``python -m scripts.generate_docs``.

``--check`` writes nothing and fails when a document is not what the code says.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from qcow2_dump.checks.catalogue import RULES, Rule
from qcow2_dump.report.document import CheckDocument, ErrorDocument
from qcow2_dump.report.info_document import InfoDocument, InfoErrorDocument, SnapshotsDocument
from qcow2_dump.report.plan_document import (
    ChangeFailure,
    PlanDocument,
    UndoListDocument,
    ValueDocument,
)
from qcow2_dump.report.space_document import DuDocument
from scripts.json_schema import schema_of
from scripts.manual import manual_page, reference

DOCS = Path(__file__).resolve().parent.parent / "docs"

_FAMILIES = {
    "snapshot": "Snapshots",
    "header": "The header",
    "backing": "Files that the image needs",
    "data-file": "Files that the image needs",
    "file": "The file as a whole",
    "table": "The file as a whole",
    "l1": "L1 tables",
    "l2": "L2 tables",
    "cluster": "Clusters and their owners",
    "leak": "Clusters and their owners",
    "bitmap": "Bitmaps",
    "refcount": "Refcounts",
    "check": "The check itself",
}

_INTRODUCTION = """\
<!-- Generated from the catalogue by `python -m scripts.generate_docs`: do not edit. -->

# Findings

Every kind of finding that `qcow2-dump check` knows, in the order in which a report lists them.
`qcow2-dump explain CODE` prints the same words. The status is what `check` exits with when
nothing worse is found. The option is that of `qcow2-dump repair`; where there is none, nothing in
the image says what the right value was, or mending it would give something up.

A few words that come up again and again: an image is divided into *clusters*, usually of 64 KiB.
*L1* and *L2 tables* map the guest's disk to clusters of the file; each *tree* of tables belongs to
the active layer (the present disk) or to a snapshot. The *refcount* of a cluster is the number of
places that use it. A *leak* is a cluster whose refcount is higher than the number of places that
were found: waste, or guest data whose entry was lost.
"""


def findings_page() -> str:
    """``docs/findings.md``: the catalogue as one page."""
    return "\n".join([_INTRODUCTION, *_index(), *_sections()]).rstrip() + "\n"


def check_schema() -> str:
    """``docs/check.schema.json``: the JSON Schema of what ``check --json`` prints."""
    schema = schema_of("A document of qcow2-dump check --json", CheckDocument, ErrorDocument)
    return json.dumps(schema, indent=2) + "\n"


def info_schema() -> str:
    """``docs/info.schema.json``: the JSON Schema of what ``info --json`` prints."""
    schema = schema_of("A document of qcow2-dump info --json", InfoDocument, InfoErrorDocument)
    return json.dumps(schema, indent=2) + "\n"


def du_schema() -> str:
    """``docs/du.schema.json``: the JSON Schema of what ``du --json`` prints."""
    schema = schema_of("A document of qcow2-dump du --json", DuDocument)
    return json.dumps(schema, indent=2) + "\n"


def plan_schema() -> str:
    """``docs/plan.schema.json``: that of the commands that change an image, with ``--json``."""
    schema = schema_of(
        "A document of a qcow2-dump command that changes an image, with --json",
        PlanDocument,
        ChangeFailure,
        UndoListDocument,
        ValueDocument,
        SnapshotsDocument,
    )
    return json.dumps(schema, indent=2) + "\n"


def documents() -> dict[str, str]:
    """Every generated document, by its name in ``docs``."""
    return {
        "findings.md": findings_page(),
        "check.schema.json": check_schema(),
        "info.schema.json": info_schema(),
        "du.schema.json": du_schema(),
        "plan.schema.json": plan_schema(),
        "cli.md": reference(),
        "qcow2-dump.1": manual_page(),
    }


def main() -> int:
    """Write the documents, or with ``--check`` compare them; 1 when one is out of date."""
    parser = argparse.ArgumentParser(prog="python -m scripts.generate_docs")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check_only = parser.parse_args().check
    stale = []
    for name, words in documents().items():
        path = DOCS / name
        if path.exists() and path.read_text(encoding="utf-8") == words:
            continue
        stale.append(name)
        if not check_only:
            DOCS.mkdir(exist_ok=True)
            path.write_text(words, encoding="utf-8")
    for name in stale:
        state = "out of date" if check_only else "written"
        sys.stdout.write(f"docs/{name}: {state}\n")
    return 1 if stale and check_only else 0


def _index() -> Iterator[str]:
    yield "| code | severity | status | repaired by | what |"
    yield "|---|---|---|---|---|"
    for rule in RULES.values():
        option = f"`{rule.option}`" if rule.option else ""
        link = f"[`{rule.code}`](#{_anchor(rule)})"
        yield f"| {link} | {rule.severity} | {_status(rule)} | {option} | {rule.title} |"
    yield ""


def _sections() -> Iterator[str]:
    family = ""
    for rule in RULES.values():
        named = _FAMILIES[rule.code.partition(".")[0]]
        if named != family:
            family = named
            yield f"## {family}\n"
        yield f"### {rule.code}\n"
        yield f"**{rule.title}.** Severity {rule.severity}, status {_status(rule)}.\n"
        yield f"- *What it is:* {rule.meaning}"
        yield f"- *How it comes about:* {rule.cause}"
        yield f"- *What it does:* {rule.effect}"
        yield f"- *What repair does:* {rule.repair}\n"


def _status(rule: Rule) -> str:
    return f"{rule.verdict.value} ({rule.verdict.label})"


def _anchor(rule: Rule) -> str:
    """The anchor that Markdown viewers derive from the heading ``### code``."""
    return rule.code.replace(".", "")


if __name__ == "__main__":
    sys.exit(main())
