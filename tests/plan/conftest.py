"""Plans of tests are small: even of little, words are kept, as of the blocks of a real plan."""

from collections.abc import Iterator

import pytest

from qcow2_dump.plan import spool


@pytest.fixture(scope="module", autouse=True)
def words_of_little() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(spool, "_SHORTEST_IN_PLACE", 8)
        yield
