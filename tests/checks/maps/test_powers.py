"""Exponents, compared with Python's integers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.checks.maps.powers import exponents


@given(st.lists(st.integers(1, 2**53) | st.integers(0, 62).map(lambda bits: 1 << bits)))
def test_exponents_are_those_of_integers(numbers: list[int]) -> None:
    found = exponents(np.array(numbers, dtype=np.int64))
    assert found.tolist() == [number.bit_length() - 1 for number in numbers]
