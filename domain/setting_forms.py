"""How settings of limits and addresses are written: each form's parser, kept as normal text."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_network
from urllib.parse import urlsplit

from domain.ids import is_id

CAP_MAX = 1_000_000
SAMPLED_TYPES_MAX = 100
_SAMPLED_TYPE = re.compile(r"live\.[a-z0-9_]{1,40}\Z")


def networks(raw: str) -> str:
    """A comma list of CIDRs, kept as text; a bare address is a network of one."""
    try:
        return ",".join(
            str(ip_network(each.strip(), strict=False)) for each in raw.split(",") if each.strip()
        )
    except ValueError:
        raise ValueError("must be CIDRs with commas between, like 10.0.0.0/8,fd00::/8") from None


def game(raw: str) -> str | None:
    """A game's id, None for none."""
    if raw and not is_id(raw):
        raise ValueError("must be a game's id")
    return raw or None


def number(low: float, high: float) -> Callable[[str], float]:
    """A number within bounds."""

    def parse(raw: str) -> float:
        try:
            value = float(raw)
        except ValueError:
            raise ValueError(f"must be a number from {low:g} to {high:g}") from None
        if not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return value

    return parse


def room_caps(raw: str) -> str:
    """`2000,matches=0`: a number for all kinds of rooms, others for some; 0 = none."""
    first, *others = [each.strip() for each in raw.split(",")]
    try:
        shown = [str(_cap(first))]
        for each in others:
            kind, sign, cap = each.partition("=")
            if not sign or not kind.isidentifier():
                raise ValueError
            shown.append(f"{kind}={_cap(cap)}")
    except ValueError:
        raise ValueError("must be a number, then kind=number, like 2000,matches=0") from None
    return ",".join(shown)


def _cap(raw: str) -> int:
    value = int(raw)
    if not 0 <= value <= CAP_MAX:
        raise ValueError
    return value


def origins(raw: str) -> str:
    """A comma list of origins as browsers write them (RFC 6454), or `*`."""
    shown = []
    for each in filter(None, (part.strip().lower() for part in raw.split(","))):
        parts = urlsplit(each)
        whole = parts.scheme in ("http", "https") and bool(parts.netloc)
        if each != "*" and (not whole or parts.path.strip("/") or parts.query or parts.fragment):
            raise ValueError("must be origins with commas between, like https://play.example, or *")
        shown.append(each.rstrip("/"))
    return ",".join(shown)


_REGION = re.compile(r"[A-Z][A-Z0-9]{1,15}\Z")
_COUNTRY = re.compile(r"[A-Z]{2}\Z")
REGIONS_MAX = 100


def regions(raw: str) -> str:
    """`EU=DE,FR;NA=US,CA`: groups of ISO 3166 countries with regional boards of their own."""
    shown = []
    for each in filter(None, (part.strip().upper() for part in raw.split(";"))):
        name, sign, listed = (said.strip() for said in each.partition("="))
        named = [country.strip() for country in listed.split(",")]
        if not sign or not _REGION.match(name) or not all(map(_COUNTRY.match, named)):
            raise ValueError("must be groups of countries, like EU=DE,FR;NA=US,CA")
        shown.append(f"{name}={','.join(sorted(set(named)))}")
    if len(shown) > REGIONS_MAX or len({each.partition("=")[0] for each in shown}) < len(shown):
        raise ValueError(f"must be at most {REGIONS_MAX} groups, each named once")
    return ";".join(shown)


def sampled_types(raw: str) -> str:
    """`live.position:player,live.camera`: a LIVE type, then the field of its data that tells apart
    what moves; without one all events of the type are of one thing.
    """
    shown = []
    for each in filter(None, (part.strip() for part in raw.split(","))):
        name, sign, field = each.partition(":")
        if not _SAMPLED_TYPE.match(name) or name == "live.state" or bool(sign) != bool(field):
            raise ValueError("must be LIVE types with their fields, like live.position:player")
        shown.append(each)
    if len(shown) > SAMPLED_TYPES_MAX:
        raise ValueError(f"must be at most {SAMPLED_TYPES_MAX} LIVE types")
    return ",".join(shown)
