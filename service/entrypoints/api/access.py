"""Who asks, and what they may see and do: by a token, by a proxy's word, or as this machine."""

import hashlib
import hmac
import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final, Literal, NamedTuple

from fastapi import HTTPException, Request

from service.core.ports import Store
from service.core.tokens import EVERY_TEAM, Role, Token
from service.entrypoints.api.limits import Rates
from service.entrypoints.api.sign_on import SignOn, is_claimed, rights

COOKIE: Final = "spendwatch_token"
PREFIX: Final = "spw_"
LONGEST_TOKEN: Final = 256
# A revoked token is refused within this time; a request does not read all tokens each time.
KNOWN_FOR: Final = timedelta(seconds=1)
NOTED_EVERY: Final = timedelta(minutes=1)
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
_WHO: Final[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="spendwatch"'}
# What each role may do; `admin` may do everything.
_MAY: Final[Mapping[Role, frozenset[Role]]] = {
    "viewer": frozenset({"viewer"}),
    "editor": frozenset({"viewer", "editor"}),
    "ingest": frozenset({"ingest"}),
    "admin": frozenset({"viewer", "editor", "ingest", "admin"}),
}
Rule = Role | Literal["open"]


class Access(NamedTuple):
    """What one caller may do, and the owners whose spend they see; None sees everyone's."""

    name: str
    role: Role
    teams: frozenset[str] | None

    def may(self, rule: Rule) -> bool:
        """Tell whether what a route asks for is theirs to do."""
        return rule == "open" or rule in _MAY[self.role]

    def sees(self, owner: str) -> bool:
        """Tell whether an owner's spend is theirs to see."""
        return self.teams is None or owner in self.teams


ADMIN: Final = Access("admin", "admin", None)


class Local(NamedTuple):
    """Whether this machine needs no token, the admin's token, and who vouches for people."""

    role: Role | None = None
    admin_sha256: str | None = None
    sign_on: SignOn | None = None


NO_LOCAL: Final = Local()


def digest(token: str) -> str:
    """Return what is kept of a token. It is random and long, so that no salt is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


class Gate:
    """Finds out who asks, and how often. Reads the tokens that stand from the store.

    A caller is a token's name; without a good one, an address.
    """

    def __init__(
        self, store: Store, now: Callable[[], datetime], local: Local, rates: Rates | None
    ) -> None:
        self._rates = rates
        self._store = store
        self._now = now
        self._local = local
        self._tokens: dict[str, Token] = {}
        self._read_at: datetime | None = None
        self._noted: dict[str, datetime] = {}

    def let_in(self, request: Request, rule: Rule) -> Access | None:
        """Return who asks; HTTPException when they may not. None for whom an open route lets in."""
        access, is_browser = self._who(request, rule)
        self._slow_down(request, access)
        if rule == "open":
            return access
        if access is None:
            raise HTTPException(401, "Say who you are: Authorization: Bearer TOKEN.", _WHO)
        if is_browser and request.method not in SAFE:
            check_own_page(request)
        if not access.may(rule):
            raise HTTPException(403, f"This takes the role {rule}; yours is {access.role}.")
        return access

    def by_token(self, secret: str) -> Access | None:
        """Return what a token may do; None when it is unknown, expired or revoked."""
        if not 0 < len(secret) <= LONGEST_TOKEN or not secret.isascii():
            return None
        sha256 = digest(secret)
        admin = self._local.admin_sha256
        if admin is not None and hmac.compare_digest(admin, sha256):
            return ADMIN
        now = self._now()
        token = self._known(now).get(sha256)
        if token is None or (token.expires_at is not None and token.expires_at <= now):
            return None
        self._note_used(token.name, now)
        teams = None if EVERY_TEAM in token.teams else frozenset(token.teams)
        return Access(token.name, token.role, teams)

    def _slow_down(self, request: Request, access: Access | None) -> None:
        host = request.client.host if request.client is not None else ""
        wait = (
            0.0
            if self._rates is None
            else self._rates.wait_seconds(
                f"address {host}" if access is None else f"token {access.name}"
            )
        )
        if wait:
            raise HTTPException(429, "Ask more slowly.", {"Retry-After": str(math.ceil(wait))})

    def _who(self, request: Request, rule: Rule) -> tuple[Access | None, bool]:
        """Return who asks, and whether a browser says it of itself, unasked."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme:
            known = self.by_token(secret.strip()) if scheme.lower() == "bearer" else None
            return known, False
        if self._local.sign_on is not None and is_claimed(request):
            return _signed_on(self._local.sign_on, request, rule), True
        cookie = request.cookies.get(COOKIE)
        if cookie and (access := self.by_token(cookie)) is not None:
            return access, True
        if self._local.role is not None and is_this_machine(request):
            return Access("this machine", self._local.role, None), True
        return None, False

    def _known(self, now: datetime) -> Mapping[str, Token]:
        if self._read_at is None or not timedelta(0) <= now - self._read_at < KNOWN_FOR:
            known = self._store.things("token")
            self._tokens = {one.sha256: one for one in known if isinstance(one, Token)}
            self._read_at = now
        return self._tokens

    def _note_used(self, name: str, now: datetime) -> None:
        last = self._noted.get(name)
        if last is None or now - last >= NOTED_EVERY:
            self._noted[name] = now
            self._store.note_used(name, now)


def _signed_on(sign_on: SignOn, request: Request, rule: Rule) -> Access | None:
    """Return who has signed on, with what their groups give them here; None for nobody's word."""
    known = sign_on.who(request)
    if known is None:
        return None
    name, groups = known
    if not groups and rule != "open":
        raise HTTPException(403, "You are signed on, and none of your groups may come in here.")
    request.state.by_proxy = True
    found = rights(groups, _MAY, "viewer" if rule == "open" else rule)
    if found is None and not groups:
        return None
    if found is None:
        highest = next(role for role in _MAY if any(one.role == role for one in groups))
        return Access(name, highest, frozenset())
    return Access(name, *found)


def access_of(request: Request) -> Access:
    """Return who asks, as the gate found out."""
    access = request.state.access
    assert isinstance(access, Access)  # noqa: S101 - the gate lets nobody else in here
    return access


def is_this_machine(request: Request) -> bool:
    """Tell whether a request comes from this machine, and not through a proxy on it."""
    peer = request.client.host if request.client is not None else ""
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ip_address(peer).is_loopback
    except ValueError:
        return False


def check_own_page(request: Request) -> None:
    """Refuse what a page of a stranger lets a browser send in its user's name."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    scheme = request.url.scheme
    if getattr(request.state, "by_proxy", False):
        scheme = request.headers.get("x-forwarded-proto", scheme)
    own = f"{scheme}://{request.headers.get('host', '')}"
    if site not in (None, "none", "same-origin") or origin not in (None, own):
        raise HTTPException(403, "A page of another site may not say this.")


def owners_of(access: Access, asked: str | None) -> frozenset[str] | None:
    """Return whose spend to list: what was asked for, as far as it may be seen; None for all."""
    if asked is None:
        return access.teams
    return frozenset({asked}) if access.sees(asked) else frozenset()
