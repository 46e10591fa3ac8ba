"""A second look at an image of which nothing but refcounts and COPIED flags was changed.

What refers to what is as it was, so the references that a check counted still hold. Only the
stored refcounts are read again (repair rules, section 3).
"""

from dataclasses import replace

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import FindingLog
from qcow2_dump.checks.pass_refcounts import LeakMap, RefcountComparison
from qcow2_dump.checks.result import CheckResult, LeakTriage, RefcountStatistics
from qcow2_dump.checks.stored import StoredRefcounts
from qcow2_dump.image.image import Image

__all__ = ["recount"]

_MENDED = frozenset({"refcount.low", "refcount.leak", "l1.copied", "l2.copied"})


def recount(image: Image, facts: CheckFacts, before: CheckResult) -> CheckResult | None:
    """What a check of ``image`` would find, if that is known without walking its tables.

    ``facts`` and ``before`` are of the same image before its refcounts and COPIED flags were put
    right; that the flags are right is for the caller to know. None where anything else was found
    then, any refcount disagrees now, or the file has another length. Raises SourceError when the
    refcounts cannot be read.
    """
    whole = before.complete and before.refusal is None and facts.kept is None
    same_size = image.source.size == facts.image.source.size
    if not whole or not same_size or not before.tallies.keys() <= _MENDED:
        return None
    again = replace(
        facts,
        image=image,
        log=FindingLog(),
        stored=StoredRefcounts(image),
        statistics=replace(facts.statistics, corruptions=0, leaks=0),
        refcounts=RefcountStatistics(),
    )
    comparison = RefcountComparison(again, LeakMap(again.references.size))
    for _ in comparison.compare(again.references):
        if again.log.tallies:
            return None
    comparison.finish()
    return replace(
        before,
        statistics=again.statistics,
        refcounts=again.refcounts,
        triage=LeakTriage(),
        tallies={},
        findings=[],
        omitted=0,
    )
