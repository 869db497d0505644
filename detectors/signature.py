"""Signatures: one number per field of a block of rows, by which a change of any of them is seen.

A sum of the field's words, each times an odd 64-bit number of its row's own: a change of one word
always shows, one of several escapes with a chance of about 2^-60 (multiply-shift hashing,
Dietzfelbinger et al., 1997).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]

BLOCK: Final = 4096  # rows at most
KEYS: Final[U64] = np.random.default_rng(1).integers(0, 2**64, BLOCK, np.uint64) | np.uint64(1)


@compiled
def _sum(words: U32, keys: U64, out: U64) -> None:
    for i in range(len(words)):
        key = keys[i]
        for j in range(len(out)):
            out[j] += key * np.uint64(words[i, j])


def signature(words: U32) -> U64:
    """Return one number per column of (rows, fields) words, for up to `BLOCK` rows."""
    out = np.zeros(words.shape[1], np.uint64)
    _sum(words, KEYS, out)
    return out
