"""A pseudo-random order of any length that needs no memory."""

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.uint64]

_MIX = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = 4


class Permutation:
    """A fixed bijection of 0..length-1, computed for any batch of indices on its own.

    A Feistel network permutes the next power of two; a result outside the range is sent
    through again until it lands inside (at most twice on average).
    """

    def __init__(self, length: int, seed: int) -> None:
        """`length` is positive and below 2**62; equal seeds give equal orders."""
        self.length = length
        bits = max(2, (length - 1).bit_length())
        self._low_bits = bits // 2
        self._high_bits = bits - self._low_bits
        keys = np.random.default_rng(seed).integers(0, 1 << 63, _ROUNDS, dtype=np.uint64)
        self._keys = list(keys)

    def __call__(self, indices: Indices) -> Indices:
        """The images of `indices` (uint64, any shape, each below `length`), same shape."""
        result = self._shuffle(indices)
        outside = result >= self.length
        while outside.any():
            result[outside] = self._shuffle(result[outside])
            outside = result >= self.length
        return result

    def _shuffle(self, indices: Indices) -> Indices:
        high_bits, low_bits = self._high_bits, self._low_bits
        high = indices >> np.uint64(low_bits)
        low = indices & np.uint64((1 << low_bits) - 1)
        for key in self._keys:
            mixed = (low + key) * _MIX
            mixed ^= mixed >> np.uint64(31)
            mixed *= _MIX
            # The halves change places, and with them their widths.
            high, low = low, high ^ (mixed >> np.uint64(64 - high_bits))
            high_bits, low_bits = low_bits, high_bits
        return (high << np.uint64(low_bits)) | low
