"""Links by which the reader of a mail acts: signed, for one person, one action and a while.

What a link says stands in it, and a signature keeps it so. Programs that look at mail open links:
whoever serves them shows on GET, and acts on POST alone.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from itsdangerous import BadData, URLSafeSerializer

from service.core.secret import Secret
from service.decoding import convert

PATH: Final = "/act"
LONGEST_TOKEN: Final = 2048
# Signs nothing else: a token made with the same key for another purpose is not one of these.
_SALT: Final = b"spendwatch.act.1"

Action = Literal["acknowledge", "expected", "not_an_issue", "unsubscribe"]
Flaw = Literal["forged", "expired"]


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """What a link is for: `who`, by mail address, does `action` to an incident, until `expires`.

    `expires` is kept to the second. To unsubscribe is of the address, whatever the incident.
    """

    incident_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
    action: Action
    who: Annotated[str, msgspec.Meta(min_length=1, max_length=320)]
    expires: Annotated[datetime, msgspec.Meta(tz=True)]


def sign(act: Act, key: Secret) -> str:
    """Return the token of an act, to be put into a URL as it is."""
    expires = int(act.expires.timestamp())
    return str(_serializer([key]).dumps([act.incident_id, act.action, act.who, expires]))


def read(token: str, keys: Sequence[Secret], now: datetime) -> Act | Flaw:
    """Return the act of a token signed with any of the keys, or what is wrong with it.

    While a key is changed, give the new one and the old one.
    """
    if len(token) > LONGEST_TOKEN or not keys:
        return "forged"
    try:
        incident_id, action, who, expires = _serializer(keys).loads(token)
        said = {"incident_id": incident_id, "action": action, "who": who}
        act = convert(said | {"expires": datetime.fromtimestamp(expires, UTC)}, Act)
    except (BadData, msgspec.ValidationError, TypeError, ValueError, OverflowError, OSError):
        return "forged"
    return act if now < act.expires else "expired"


def url_of(public_url: str, act: Act, key: Secret) -> str:
    """Return the link itself: `{public_url}/act?t=TOKEN`."""
    return f"{public_url.rstrip('/')}{PATH}?t={sign(act, key)}"


def _serializer(keys: Sequence[Secret]) -> URLSafeSerializer:
    """Sign with the last of itsdangerous' keys, and know all of them; here the first is newest."""
    return URLSafeSerializer(
        [key.reveal() for key in reversed(keys)],
        salt=_SALT,
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
