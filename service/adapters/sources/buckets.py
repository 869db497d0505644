"""Buckets: where exports are written to at Amazon S3, Google Cloud Storage and Azure Blob Storage.

Credentials are the provider's own: its environment variables, a role of the machine, the shared
files of AWS, the application default file of Google. None of them is ever part of a message.
"""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from obstore.exceptions import (
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import ObjectStore, from_url

from service.adapters.sources.aws_profile import SharedProfile

_ADDRESS: Final = re.compile(r"(s3|gs|az):/{1,3}([^/]+)/?(.*)")
_CODE: Final = re.compile(r"<Code>([^<]{1,200})</Code>")
_MESSAGE: Final = re.compile(r"<Message>([^<]{1,300})")
_URL: Final = re.compile(r"https?://([^/\s?]+)[^\s,]*")
# What is asked, on AWS, Google Cloud and Azure, for the keys of a machine's role.
_OF_ROLES: Final = ("/latest/api/token", "/latest/meta-data/", "/computeMetadata/",
                    "/metadata/identity/")  # fmt: skip
LONGEST_WHY: Final = 300
# A server that hangs is noticed in these; only a transfer that goes on may take long.
_CLIENT: Final = {
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=30),
    "timeout": timedelta(hours=1),
}
_RETRIES: Final = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {
        "init_backoff": timedelta(seconds=0.2),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}


class BucketError(OSError):
    """A bucket cannot be read now: which, and why, in one line."""


class Address(NamedTuple):
    """Where exports lie: a bucket, or container, and the beginning of their names in it."""

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Read `s3://bucket/prefix`, or what a path has made of it; None for a path on this disk.

        >>> str(Address.of(Path("s3://bills/cur/"))), Address.of(Path("s3/bills"))
        ('s3://bills/cur', None)
        """
        found = _ADDRESS.fullmatch(str(path))
        return None if found is None else cls(found[1], found[2], found[3].strip("/"))


class Access(NamedTuple):
    """What the provider's own settings do not say of one bucket."""

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    account: str | None = None


def open_bucket(address: Address, access: Access) -> ObjectStore:
    """Return the bucket, not asked for anything yet; BucketError when it cannot be named so."""
    named: dict[str, Any] = {}
    if access.endpoint is not None:
        named["endpoint" if address.scheme != "gs" else "base_url"] = access.endpoint
    if address.scheme == "s3":
        profile = SharedProfile.find(access.profile)
        if access.profile is not None and profile is None:
            raise BucketError(f"{address}: no profile {access.profile!r} with keys in AWS's files")
        region = access.region or (profile.region if profile else None)
        named |= {"region": region} if region else {}
        named |= {"credential_provider": profile} if profile else {}
    if address.scheme == "az" and access.account is not None:
        named["account_name"] = access.account
    is_open = access.endpoint is not None and access.endpoint.startswith("http://")
    try:
        store: ObjectStore = from_url(  # type: ignore[call-overload]  # it has one form a provider
            f"{address.scheme}://{address.bucket}",
            client_options=_CLIENT | ({"allow_http": True} if is_open else {}),
            retry_config=_RETRIES,
            **named,
        )
    except BaseError as error:
        raise BucketError(f"{address}: {why(error)}") from None
    return store


def why(error: BaseError) -> str:
    """Say in one line what a provider answered, without what it was asked with."""
    text = str(error).split("\n\nDebug source")[0]
    code, message = _CODE.search(text), _MESSAGE.search(text)
    servers = _URL.findall(text)
    if any(path in text for path in _OF_ROLES):
        return "no credentials: none in the environment or in files, and this machine has no role"
    if code is not None:
        said = f"{code[1]}: {' '.join(message[1].split())}" if message else code[1]
    else:
        said = text.rpartition(" - ")[2] or text
        said = " ".join(_URL.sub(r"\1", said).split())
        said += f" ({servers[0]})" if servers else ""
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        said = f"access denied: {said}"
    return said[:LONGEST_WHY]
