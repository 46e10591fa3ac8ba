"""The undamaged images: each kind that real tools write, with random guest requests."""

from __future__ import annotations

from tests.corpus import bases_features, bases_plain, bases_shared
from tests.corpus.base import Base

BASES: tuple[Base, ...] = (
    *bases_plain.base.bases,
    *bases_shared.base.bases,
    *bases_features.base.bases,
)
