"""Refcounts of every width, as QEMU lays them out (section 2.2)."""

import numpy as np
import pytest

from qcow2_dump.ondisk import arrays, refcounts

STANDARD = [1] * 8


@pytest.mark.parametrize(
    ("order", "packed"),
    [
        (0, "ff"),
        (1, "5555"),
        (2, "11111111"),
        (3, "0101010101010101"),
        (4, "0001" * 8),
        (5, "00000001" * 8),
        (6, "0000000000000001" * 8),
    ],
)
def test_first_bytes_of_the_standard_image(order: int, packed: str) -> None:
    block = bytes.fromhex(packed)
    assert refcounts.unpack_refcounts(block, order) == STANDARD
    assert refcounts.pack_refcounts(STANDARD, order) == block
    assert arrays.unpack_refcounts(block, order).tolist() == STANDARD
    assert arrays.pack_refcounts(np.array(STANDARD, np.uint64), order) == block


@pytest.mark.parametrize(
    ("order", "byte", "value", "cluster", "count"),
    [
        (1, 1, 0x95, 7, 2),
        (2, 3, 0x51, 6, 1),
        (2, 3, 0x51, 7, 5),
        (0, 0, 0x7F, 7, 0),
    ],
)
def test_measured_probes(order: int, byte: int, value: int, cluster: int, count: int) -> None:
    block = bytearray(refcounts.pack_refcounts(STANDARD, order))
    block[byte] = value
    assert refcounts.get_refcount(block, cluster, order) == count
    assert arrays.unpack_refcounts(block, order)[cluster] == count


def test_64_bits_are_unsigned() -> None:
    block = b"\xff" * 8
    assert refcounts.get_refcount(block, 0, 6) == 2**64 - 1
    assert arrays.unpack_refcounts(block, 6).tolist() == [2**64 - 1]


@pytest.mark.parametrize("order", range(7))
def test_values_past_the_width_are_refused(order: int) -> None:
    block = bytearray(64)
    most = 2 ** (2**order) - 1
    refcounts.set_refcount(block, 3, order, most)
    assert refcounts.get_refcount(block, 3, order) == most
    for wrong in (-1, most + 1):
        with pytest.raises(ValueError, match="does not fit"):
            refcounts.set_refcount(block, 3, order, wrong)
    if order < 6:
        with pytest.raises(ValueError, match="does not fit"):
            arrays.pack_refcounts(np.array([most + 1], np.uint64), order)


@pytest.mark.parametrize("order", range(7))
def test_refcounts_beyond_the_block(order: int) -> None:
    count = 64 * 8 >> order
    with pytest.raises(IndexError):
        refcounts.get_refcount(bytes(64), count, order)
    with pytest.raises(IndexError):
        refcounts.get_refcount(bytes(64), -1, order)
    with pytest.raises(IndexError):
        refcounts.set_refcount(bytearray(64), count, order, 0)


@pytest.mark.parametrize(
    ("order", "dtype"), [(3, "uint8"), (4, "uint16"), (5, "uint32"), (6, "uint64")]
)
def test_arrays_are_native_and_as_narrow_as_can_be(order: int, dtype: str) -> None:
    found = arrays.unpack_refcounts(bytes(64), order)
    assert found.dtype == np.dtype(dtype)
    assert found.dtype.isnative


def test_bytes_are_not_copied() -> None:
    block = bytearray(64)
    assert np.shares_memory(arrays.unpack_refcounts(block, 3), np.frombuffer(block, np.uint8))
