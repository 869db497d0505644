"""A value that must never be printed."""

from typing import final


@final
class Secret:
    """Holds a secret; every way of printing it gives `<secret>`.

    >>> str(Secret("xoxb-1")), repr([Secret("xoxb-1")]), f"{Secret('xoxb-1')}"
    ('<secret>', '[<secret>]', '<secret>')
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value, for the one call that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)
