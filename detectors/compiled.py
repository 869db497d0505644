"""Compiled loops with their types kept, and arrays that grow by rows."""

import hashlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Final, TypeVar, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS: Final[Mapping[str, Any]] = {
    "cache": True,
    "error_model": "numpy",
    "forceinline": True,
    "_nrt": False,
}
ARRAYS: Final[Any] = arrayobj  # not typed
TOOLS: Final[Any] = cgutils
SPARE: Final = 1.25
STAMP: Final = hashlib.sha256(
    b"".join(
        source
        for file in sorted(files(__package__).iterdir(), key=lambda file: file.name)
        if file.name.endswith(".py") and b"@compiled" in (source := file.read_bytes())
    )
).hexdigest()


def compiled(function: Function) -> Function:
    """Compile a function of numbers and arrays at its first call; the result is kept on disk.

    What it was is kept as `.py_func`. Numba looks for changes in the file of the function only; one
    that it calls may stand in another, so what is kept is good for this very set of files. A
    kernel may allocate nothing, for references to arrays are not counted: that, and handing arrays
    from call to call, took half of the time.
    """
    return cast("Function", _kept(njit(**OPTIONS)(function)))


def compiled_apart(function: Function) -> Function:
    """Compile a function that is seldom called: once, and not into each of its callers."""
    return cast("Function", _kept(njit(**{**OPTIONS, "forceinline": False})(function)))


def _kept(dispatcher: Any) -> Any:
    dispatcher._cache._cache_file._source_stamp = STAMP  # noqa: SLF001  there is no public way
    return dispatcher


def grown(array: NDArray[Any], have: int, rows: int, fill: float | None) -> NDArray[Any]:
    """Return `array` with room for `rows` rows: the `have` it holds, then ones holding `fill`.

    With None they hold anything; otherwise an array is always grown with the same `fill`. Room is
    taken a quarter ahead, so that adding rows one by one costs little; the spare rows are not
    touched and take no memory until they are used.
    """
    larger = array
    if rows > len(array):
        room = max(rows, int(have * SPARE))
        # Zeros come from the system, and take no memory and no time until they are used.
        blank = np.zeros if fill == 0.0 else np.empty
        larger = blank((room, *array.shape[1:]), array.dtype)
        larger[:have] = array[:have]
    if fill:
        larger[have:rows] = fill
    return larger


def _fetch(_: Any, array: Any, row: Any, column: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind, byte, number = signature.args[0], ir.PointerType(), ir.IntType(32)
        whole = ARRAYS.make_array(kind)(context, builder, values[0])
        place = TOOLS.get_item_pointer(context, builder, kind, whole, values[1:])
        form = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        prefetch = TOOLS.get_or_insert_function(builder.module, form, "llvm.prefetch.p0")
        # To read, to be kept in every cache, as data.
        builder.call(prefetch, [builder.bitcast(place, byte), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, row, column), build


# Asks for the cache line of array[row, column] without waiting for it: a million series fit into no
# cache, so a kernel asks for what it will need some points later.
fetch: Final = cast("Callable[[NDArray[Any], int, int], None]", intrinsic(_fetch))
