"""Which hosts a request of ours may go to: none of our own network, whatever a name resolves to.

A name may resolve to another address at its second look-up. So it is resolved once, every address
is looked at, and the request goes to one of these.
"""

from __future__ import annotations

import ipaddress
import socket


class ForbiddenAddress(Exception):
    """Raised for a host that is on this machine, in a private network, or nowhere."""


def public_address(host: str, port: int) -> str:
    """Return an address of a host that anybody on the internet could reach.

    Raises:
        ForbiddenAddress: if any of its addresses is private, or it has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ForbiddenAddress(f"{host} cannot be resolved.") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not _is_public(address):
            raise ForbiddenAddress(f"{host} is in a private network.")
    return addresses[0]


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(parsed, "ipv4_mapped", None) or getattr(parsed, "sixtofour", None)
    if inner is not None and not inner.is_global:
        return False
    # Of IPv4 in IPv6 by NAT64, the last 32 bits are the address (RFC 6052).
    if parsed in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.ip_address(int(parsed) & 0xFFFFFFFF).is_global
    return parsed.is_global and not parsed.is_multicast
