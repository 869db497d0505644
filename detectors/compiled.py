"""Compiled loops with their types kept, and arrays that grow by rows."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS: Final[Mapping[str, Any]] = {"cache": True, "error_model": "numpy", "_nrt": False}
SPARE: Final = 1.25
STAMP: Final = hashlib.sha256(
    b"".join(
        source
        for file in sorted(Path(__file__).parent.glob("*.py"))
        if b"@compiled" in (source := file.read_bytes())
    )
).hexdigest()


def compiled(function: Function) -> Function:
    """Compile a function of numbers and arrays at its first call; the result is kept on disk.

    What it was is kept as `.py_func`. Numba looks for changes in the file of the function only; one
    that it calls may stand in another, so what is kept is good for this very set of files. A
    kernel may allocate nothing: counting references to arrays took a quarter of its time.
    """
    dispatcher: Any = njit(**OPTIONS)(function)
    dispatcher._cache._cache_file._source_stamp = STAMP  # noqa: SLF001  there is no public way
    return cast("Function", dispatcher)


def grown(array: NDArray[Any], have: int, rows: int, fill: float) -> NDArray[Any]:
    """Return `array` with room for `rows` rows: the `have` it holds, then ones holding `fill`.

    Room is taken a quarter ahead, so that adding rows one by one costs little; the spare rows are
    not touched and take no memory until they are used.
    """
    larger = array
    if rows > len(array):
        room = max(rows, int(have * SPARE))
        larger = np.empty((room, *array.shape[1:]), array.dtype)
        larger[:have] = array[:have]
    larger[have:rows] = fill
    return larger
