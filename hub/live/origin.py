"""Which sites' pages may open sockets (WSA-09): browsers say where a page comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from domain.errors import OriginNotAllowed

if TYPE_CHECKING:
    from domain.settings import Settings

_DEFAULT_PORTS = {"http": 80, "https": 443}


def check_origin(origins: Sequence[str], host: str, settings: Settings) -> None:
    """Raises OriginNotAllowed in production for a page of a site that is not allowed.

    origins: the request's Origin lines; host: its Host. What is no browser sends no Origin and
    passes: the check guards people's browsers, not the hub.
    """
    if settings.environment != "production":
        return
    if not origins:
        return
    if len(origins) > 1 or not origin_allowed(origins[0], host, settings.ws_allowed_origins):
        raise OriginNotAllowed("pages of this site may not open sockets here (WS_ALLOWED_ORIGINS)")


def origin_allowed(origin: str, host: str, allowed: str) -> bool:
    """Whether `allowed` (WS_ALLOWED_ORIGINS) has the origin; empty: only the Host's own.

    Behind a proxy that ends TLS the hub cannot know its own scheme, so http and https count alike.
    """
    listed = [each for each in allowed.split(",") if each]
    wanted = _normal(origin)
    if "*" in listed:
        return True
    if wanted is None:
        return False
    if listed:
        return wanted in [_normal(each) for each in listed]
    return any(wanted == _normal(f"{scheme}://{host}") for scheme in _DEFAULT_PORTS)


def _normal(origin: str) -> tuple[str, str, int] | None:
    """(scheme, host, port) of an origin, None for `null` and what is none."""
    try:
        parts = urlsplit(origin.strip().lower())
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    if not parts.hostname or parts.username is not None or parts.path.strip("/"):
        return None
    return parts.scheme, parts.hostname, port
