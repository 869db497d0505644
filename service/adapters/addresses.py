"""Which network addresses a stranger's URL may lead to.

What `ipaddress` calls global still holds addresses that lead back inside: IPv4 wrapped in IPv6
(RFC 6052, RFC 3056, RFC 4380) and a cloud's own host beside the machines it rents out.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network

_WRAPPED: Final = tuple(
    ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)
# Azure tells its machines here what they are and may do (learn.microsoft.com, "168.63.129.16").
_HOSTS: Final = frozenset({ip_address("168.63.129.16")})


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read networks such as `10.0.0.0/8`, or addresses; ValueError names one that is none."""
    return tuple(ip_network(text) for text in texts)


def may_reach(text: str, allowed: Iterable[Network], *, is_secret: bool) -> bool:
    """Tell whether an address may be connected to: if it is `allowed`, or public and over TLS.

    >>> [may_reach(a, (), is_secret=True) for a in ("1.1.1.1", "127.0.0.1", "169.254.169.254")]
    [True, False, False]
    >>> may_reach("1.1.1.1", (), is_secret=False), may_reach("::ffff:10.0.0.1", (), is_secret=True)
    (False, False)
    >>> may_reach("10.1.2.3", networks(["10.1.0.0/16"]), is_secret=False)
    True
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in allowed) or (is_secret and _is_public(address))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    inside = address.is_multicast or address in _HOSTS or any(address in net for net in _WRAPPED)
    return address.is_global and not inside
