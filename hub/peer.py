"""Where a request comes from: the socket's peer, or what a trusted proxy says of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from aiohttp import web

from hub.context import CONTEXT

Address = IPv4Address | IPv6Address
Networks = tuple[IPv4Network | IPv6Network, ...]

CLIENT_IP: web.RequestKey[str] = web.RequestKey("client_ip", str)

# Proxies in a row that are walked through; a longer chain counts as the address it was left at.
HOPS_MAX = 16
IPV6_PREFIX = 64
# What a request without an address is called: all of them together are one peer.
UNKNOWN = "unknown"


@lru_cache(maxsize=32)
def networks(text: str) -> Networks:
    """The networks of a checked comma list of CIDRs (domain/settings)."""
    return tuple(ip_network(each.strip(), strict=False) for each in text.split(",") if each.strip())


@lru_cache(maxsize=4096)
def is_in(ip: str, of: Networks) -> bool:
    """Whether the address lies in one of the networks; what is no address lies in none."""
    address = parse_address(ip)
    return address is not None and any(address in each for each in of)


@lru_cache(maxsize=4096)
def network_of(ip: str) -> str:
    """The address as limits count it: IPv4 by itself, IPv6 by its /64, the least that one has."""
    address = parse_address(ip)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_PREFIX), strict=False))
    return ip


def client_ip(request: web.Request) -> str:
    """The client's address as text, for limits and logs; `unknown` where there is none.

    The socket's peer; only when that lies in TRUSTED_PROXIES, the rightmost entry of
    X-Forwarded-For that is no trusted proxy: entries left of it are anyone's to write. Never
    raises; kept as request[CLIENT_IP].
    """
    known: str | None = request.get(CLIENT_IP)
    if known is None:
        trusted = networks(request.app[CONTEXT].settings.trusted_proxies)
        headers = request.headers.getall("X-Forwarded-For", ()) if trusted else ()
        known = request[CLIENT_IP] = forwarded(request.remote or "", headers, trusted)
    return known


@lru_cache(maxsize=4096)
def plain(peer: str) -> str:
    """The address of a socket's peer that no proxy speaks for, written as limits and logs do."""
    return forwarded(peer, (), ())


def forwarded(peer: str, headers: Iterable[str], trusted: Networks) -> str:
    """`client_ip` of plain values: the socket's peer and the X-Forwarded-For lines in order."""
    here = parse_address(peer)
    if here is None:
        return UNKNOWN
    hops = [entry for line in headers for entry in line.split(",")]
    for entry in reversed(hops[-HOPS_MAX:]):
        if not any(here in each for each in trusted):
            break
        before = parse_address(entry)
        if before is None:  # garbage: the last hop that is known counts
            break
        here = before
    return str(here)


def parse_address(text: str) -> Address | None:
    """An address, with or without a port and brackets; IPv4 inside IPv6 is IPv4, None if neither.

    A zone (fe80::1%eth0) is the reader's own business and left out.
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
