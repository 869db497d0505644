"""What an object keeps: every container that can be reached from it, and how much it holds."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

PLAIN = (str, bytes, bytearray, memoryview, int, float, Decimal, date, timedelta, type(None), type)
CODE = (FunctionType, MethodType, BuiltinFunctionType, ModuleType)


def kept(root: object) -> Counter[str]:
    """Count the items of all dicts, lists and sets, and the rows of arrays, by who holds them.

    Names are of the kind `Ledger._books`; what is held by a container counts for its holder too.
    """
    found: Counter[str] = Counter()
    seen: dict[int, object] = {}
    todo: list[tuple[str, object]] = [(type(root).__name__, root)]
    while todo:
        name, value = todo.pop()
        if isinstance(value, (*PLAIN, *CODE)) or id(value) in seen:
            continue
        seen[id(value)] = value  # kept, so that no other object gets this id
        if isinstance(value, Mapping):
            found[name] += len(value)
            todo += ((name, one) for pair in value.items() for one in pair)
        elif isinstance(value, (list, set, frozenset)):
            found[name] += len(value)
            todo += ((name, one) for one in value)
        elif isinstance(value, tuple) and not hasattr(value, "_fields"):
            todo += ((name, one) for one in value)
        elif isinstance(value, np.ndarray):
            found[name] += len(value) if value.ndim else 0
        else:
            todo += ((f"{type(value).__name__}.{field}", one) for field, one in _fields(value))
    return found


def _fields(value: object) -> Iterator[tuple[str, Any]]:
    known = {name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())}
    known |= {*getattr(value, "__dict__", ()), *getattr(value, "_fields", ())}
    for name in sorted(known | {*getattr(value, "__struct_fields__", ())}):
        if hasattr(value, name) and not name.startswith("__"):
            yield name, getattr(value, name)
