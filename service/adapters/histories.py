"""The histories of parts of all series, each in a folder of its own, read as one."""

from pathlib import Path

from service.adapters.history import History


class Histories(History):
    """What `History` reads, over all parts together: a series is in one of them.

    The parts are the folders that have a number for a name; each has a writer of its own, and
    nothing is appended here. What is asked reads all parts as they are at one moment. OSError while
    there is none: that nothing was spent would be wrong to say.
    """

    def _folders(self) -> list[Path]:
        parts = sorted(one for one in self._folder.iterdir() if one.name.isdecimal())
        if not parts:
            raise OSError(f"nobody has written a history into {self._folder} yet")
        return parts
