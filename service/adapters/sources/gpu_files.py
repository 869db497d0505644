"""Files of telemetry that do not say of which host they are: their names do.

`HOST.csv`, or `HOST__WHATEVER.csv`; where that is a time, as in `HOST__2026-11-22T08-15-00Z.prom`,
it is when the GPUs were asked.
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from service.adapters.sources.values import moment

_ENDINGS: Final = re.compile(r"(\.(csv|prom|txt))?(\.gz)?$", re.IGNORECASE)
_STAMP: Final = re.compile(r"(\d{4}-?\d\d-?\d\d)T(\d\d)[-:]?(\d\d)(?:[-:]?(\d\d))?Z?")


def said_by_name(path: Path) -> tuple[str, datetime | None]:
    """Return the host, and when it was asked, if the name says that too.

    >>> said_by_name(Path("x/gpu-7.example.com.csv.gz"))
    ('gpu-7.example.com', None)
    >>> str(said_by_name(Path("gpu-7__2026-11-22T08-15-30Z.prom"))[1])
    '2026-11-22 08:15:30+00:00'
    """
    host, _, rest = _ENDINGS.sub("", path.name).partition("__")
    host = host.encode("utf-8", "replace").decode()
    found = _STAMP.fullmatch(rest)
    if found is None:
        return host, None
    try:
        return host, moment(f"{found[1]}T{found[2]}:{found[3]}:{found[4] or '00'}Z")
    except (ValueError, OverflowError):
        return host, None


def changed(path: Path) -> datetime:
    """Return when a file was last written."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
