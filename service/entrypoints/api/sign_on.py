"""People behind a single sign-on proxy, such as oauth2-proxy: known by the headers that it adds.

The headers count only with the secret that the proxy alone knows, and from where the proxy is.
oauth2-proxy's own GAP-Signature would not do: it signs neither X-Forwarded-Groups nor a time, so
that groups could be changed and requests replayed (SignatureHeaders in its pkg/upstream/proxy.go).
"""

import hmac
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final, NamedTuple

from fastapi import Request

from service.core.tokens import Role

SECRET_HEADER: Final = "x-proxy-secret"  # noqa: S105 - a header, not a secret
GROUPS_HEADER: Final = "x-forwarded-groups"
WHO_HEADERS: Final = ("x-forwarded-email", "x-forwarded-user")
HEADERS: Final = (SECRET_HEADER, GROUPS_HEADER, *WHO_HEADERS)
# Where a request came from before anybody's word on that was taken.
PEER: Final = "spendwatch.peer"
LONGEST_NAME: Final = 120
MOST_GROUPS: Final = 1000


class Group(NamedTuple):
    """What the members of a group may do, and whose spend they see; None sees everyone's."""

    role: Role
    teams: frozenset[str] | None


class SignOn(NamedTuple):
    """Whose word is taken, and what groups mean here."""

    secrets: tuple[str, ...]
    proxies: tuple[IPv4Network | IPv6Network, ...]
    groups: Mapping[str, Group]

    def who(self, request: Request) -> tuple[str, list[Group]] | None:
        """Return who a proxy says asks, with their groups; None unless it is the proxy's word."""
        if not (self._knows_secret(request) and self._is_proxy(request)):
            return None
        names = [request.headers.get(name, "").strip() for name in WHO_HEADERS]
        name = next(filter(None, names), "")
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            return None
        said = request.headers.get(GROUPS_HEADER, "").split(",")[:MOST_GROUPS]
        return name, [self.groups[one.strip()] for one in said if one.strip() in self.groups]

    def _knows_secret(self, request: Request) -> bool:
        given = request.headers.getlist(SECRET_HEADER)
        said = given[0].encode() if len(given) == 1 else b""
        return any(hmac.compare_digest(said, secret.encode()) for secret in self.secrets)

    def _is_proxy(self, request: Request) -> bool:
        peer = request.scope.get(PEER) or request.scope.get("client")
        try:
            address = ip_address(peer[0] if peer else "")
        except ValueError:
            return False
        return any(address in network for network in self.proxies)


def is_claimed(request: Request) -> bool:
    """Tell whether a request says that a proxy knows who asks."""
    return any(name in request.headers for name in HEADERS)


def rights(
    groups: Sequence[Group], may: Mapping[Role, frozenset[Role]], asked: Role
) -> Group | None:
    """Return what groups give together to do what takes a role; None when none of them may.

    Teams are those of the groups that may do it, so that who edits for one team and sees another
    does not edit for both; the role is the highest that holds for all these teams.
    """
    able = [one for one in groups if asked in may[one.role]]
    if not able:
        return None
    teams = _teams(able)
    roles: tuple[Role, ...] = ("admin", "editor", "viewer", "ingest")
    for role in roles:
        if role == asked or (asked in may[role] and _teams(_able(able, may, role)) == teams):
            return Group(role, teams)
    return Group(asked, teams)


def _able(groups: Sequence[Group], may: Mapping[Role, frozenset[Role]], role: Role) -> list[Group]:
    return [one for one in groups if role in may[one.role]]


def _teams(groups: Sequence[Group]) -> frozenset[str] | None:
    teams: frozenset[str] = frozenset()
    for one in groups:
        if one.teams is None:
            return None
        teams |= one.teams
    return teams
