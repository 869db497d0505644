"""Chains: what one partition's owner says, each link naming the one before, so that none is missed.

A partition may have two owners for a moment (one that was paused and does not know that it was
replaced). Both say the same, since what is said depends on the log alone. Whoever reads takes each
link once: the first that goes on from where the chain ends.
"""

from typing import Literal, NamedTuple

BEGINNING = -1
Fit = Literal["next", "stale", "gap"]


class Link(NamedTuple):
    """Moves a chain from the log offset `previous` to `offset`; the first goes on from -1."""

    previous: int
    offset: int


def fit(end: int, link: Link) -> Fit:
    """Say how a link fits a chain that ends at `end`.

    >>> fit(7, Link(7, 9)), fit(9, Link(7, 9)), fit(4, Link(7, 9))
    ('next', 'stale', 'gap')
    """
    if link.offset <= end:
        return "stale"
    return "next" if link.previous <= end else "gap"
