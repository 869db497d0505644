"""Folders that hold what a log led to: when the log is another, what they hold is set aside."""

from pathlib import Path
from typing import Final

import structlog

from service.adapters.whole_files import write_whole

MARK: Final = "log"

_log = structlog.get_logger(__name__)


def keep_to(folder: Path, log: str) -> Path:
    """Return a folder that holds what is of one log alone, or nothing yet.

    `log` is Kafka's id of the topic. What the folder held of another is beside it, under a name
    that ends in that one's id. What does not say of which log it is, is taken to be of this one.
    """
    try:
        known = (folder / MARK).read_text("ascii")
    except FileNotFoundError:
        known = None
    if known == log:
        return folder
    if known is not None:
        aside = folder.with_name(f"{folder.name}.of-{known}")
        _log.warning("the log is another: what was kept is set aside", aside=str(aside))
        folder.replace(aside)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / MARK, log.encode("ascii"))
    return folder
