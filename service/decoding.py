"""Decoders by type, made by one thread at a time and kept.

msgspec (0.22.0) works out a type when it is first asked for, and shows other threads what it has of
it meanwhile: one that decodes with the half of it ends the process by a segmentation fault. Types
that a module names at its top are worked out when it is imported, before there are threads; for
all others, ask here.
"""

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

import msgspec

_T = TypeVar("_T")
_JSON: Final[dict[Any, msgspec.json.Decoder[Any]]] = {}
_MSGPACK: Final[dict[Any, msgspec.msgpack.Decoder[Any]]] = {}
_ALONE: Final = threading.Lock()


@overload
def from_json(data: bytes | bytearray | str, kind: type[_T]) -> _T: ...
@overload
def from_json(data: bytes | bytearray | str, kind: object) -> Any: ...  # a union
def from_json(data: bytes | bytearray | str, kind: Any) -> Any:
    """Decode JSON as a type; raises what msgspec does."""
    known = _JSON.get(kind)
    if known is None:
        with _ALONE:
            known = _JSON[kind] = msgspec.json.Decoder(kind)
    return known.decode(data)


def from_msgpack(data: bytes | memoryview | msgspec.Raw, kind: type[_T]) -> _T:
    """Decode MessagePack as a type; raises what msgspec does."""
    return _unpacker(kind).decode(data)  # type: ignore[no-any-return]


def convert(
    value: object,
    kind: type[_T],
    *,
    strict: bool = True,
    dec_hook: Callable[[type[Any], Any], Any] | None = None,
) -> _T:
    """Turn plain data into a type; raises what msgspec does."""
    _unpacker(kind)  # the same type, worked out
    return msgspec.convert(value, kind, strict=strict, dec_hook=dec_hook)  # noqa: TID251 - it is


def _unpacker(kind: type[Any]) -> msgspec.msgpack.Decoder[Any]:
    known = _MSGPACK.get(kind)
    if known is None:
        with _ALONE:
            known = _MSGPACK[kind] = msgspec.msgpack.Decoder(kind)
    return known
