"""Who is asking: RS256 tokens checked against a JWKS, and the roles that HTTP handlers require."""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from domain.errors import (
    Forbidden,
    InvalidSchema,
    TokenExpired,
    TokenInvalid,
    Unauthenticated,
)
from domain.events import Principal, Role
from domain.ids import is_id, split_room
from domain.overlays import Overlay
from domain.settings import Settings
from domain.tokens import TOKEN_LIFE_MAX_S
from hub.auth_keys import ALGORITHM, KeySource, SigningKey
from hub.context import CONTEXT

TOKEN_BYTES_MAX = 8192  # a longer token is refused unread
CACHE_MAX = 10_000  # verified tokens remembered; at the limit the one used longest ago goes
SPECTATOR_LIFE_S = 600
SCOPES_MAX = 32
GAMES_MAX = 256
HEADERS_MAX = 256  # heads of tokens remembered with their kid; the one used longest ago goes
TEXT_MAX = 64  # characters of a scope's name

TOKEN_SUBPROTOCOL = "gamehub.token."  # noqa: S105 - the prefix, not a token
PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)

_REQUIRED = ["iss", "aud", "sub", "jti", "iat", "exp"]
_KINDS = ("user", "server", "overlay")


class Authenticator:
    """Checks tokens and, where that is allowed, signs spectators' ones.

    `check` refuses principals whose token is revoked (hub/standing), remembered ones too. `now`
    gives seconds since the epoch, `monotonic` seconds for the age of keys.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        check: Callable[[Principal], None] = lambda who: None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._check = check
        self._now = now
        self._verified: OrderedDict[bytes, Principal] = OrderedDict()
        self._keys = KeySource(settings.jwks, changed=self._verified.clear, monotonic=monotonic)
        self._signing: SigningKey | None = None
        if settings.jwt_signing_key_file is not None:
            self._signing = SigningKey(settings.jwt_signing_key_file)

    async def verify(self, token: str) -> Principal:
        """The token's principal.

        Raises TokenExpired, TokenInvalid (without echoing the token), TokenRevoked or, while no
        key or no revocations could be read at all, Unavailable (contract: Tokens; WSA-02, WSA-04).
        """
        who = self.verify_now(token)
        if who is None:
            key = await self._keys.get(_key_id(token))
            who = self._remember(_digest(token), principal(self._claims(token, key)))
        return who

    def verify_now(self, token: str) -> Principal | None:
        """Like `verify`, without waiting: None when the token's key has to be fetched first."""
        self._keys.look()
        digest = _digest(token)
        known = self._verified.get(digest)
        if known is None:
            key = self._keys.keys.get(_key_id(token))
            if key is None:
                return None
            return self._remember(digest, principal(self._claims(token, key)))
        if self._now() >= known.expires_at_s + self._settings.jwt_leeway_s:
            del self._verified[digest]
            raise TokenExpired("the token's time is over")
        self._verified.move_to_end(digest)
        self._check(known)
        return known

    def _remember(self, digest: bytes, who: Principal) -> Principal:
        self._verified[digest] = who
        if len(self._verified) > CACHE_MAX:
            self._verified.popitem(last=False)
        self._check(who)
        return who

    def sign_spectator(self, now_s: float) -> tuple[str, int, str]:
        """(token, its end in s since the epoch, its subject) for a fresh SPECTATOR.

        Raises Forbidden unless PUBLIC_SPECTATING is set and there is a signing key.
        """
        if self._signing is None or not self._settings.public_spectating:
            raise Forbidden("this hub gives no tokens to visitors (PUBLIC_SPECTATING)")
        subject = f"spectator-{secrets.token_hex(8)}"
        issued_at = int(now_s)
        expires_at = issued_at + SPECTATOR_LIFE_S
        claims = {
            "iss": self._settings.jwt_issuer,
            "aud": self._settings.jwt_audience,
            "sub": subject,
            "jti": uuid.uuid4().hex,
            "iat": issued_at,
            "exp": expires_at,
            "kind": "user",
            "role": Role.SPECTATOR.name,
            "scope": [],
        }
        return self._signing.sign(claims), expires_at, subject

    def sign_overlay(self, overlay: Overlay) -> str:
        """The overlay's token: the same row gives the same token, so it need not be kept (WSA-11).

        Its jti is the overlay's id and its sub the owner. Raises Forbidden without a signing key.
        """
        if self._signing is None:
            raise Forbidden("this hub has no key to sign overlay tokens with: JWT_SIGNING_KEY_FILE")
        claims = {
            "iss": self._settings.jwt_issuer,
            "aud": self._settings.jwt_audience,
            "sub": overlay.owner,
            "jti": overlay.overlay_id,
            "iat": overlay.created_at_s,
            "exp": overlay.expires_at_s,
            "kind": "overlay",
            "scope": [],
            "subject": overlay.subject,
        }
        return self._signing.sign_once(claims)

    async def close(self) -> None:
        """Ends what runs in the background."""
        await self._keys.close()

    def _claims(self, token: str, key: RSAPublicKey) -> dict[str, Any]:
        try:
            # Times are checked below, by the same rule for a fresh and for a remembered token.
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                options={
                    "require": _REQUIRED,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise TokenInvalid(_reason(error)) from None
        check_times(claims, self._now(), self._settings.jwt_leeway_s)
        return claims


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _key_id(token: str) -> str:
    """Which key the token says that it is signed with; raises TokenInvalid."""
    if len(token) > TOKEN_BYTES_MAX:
        raise TokenInvalid(f"the token is longer than {TOKEN_BYTES_MAX} bytes")
    return _key_id_of(token.partition(".")[0])


@lru_cache(maxsize=HEADERS_MAX)
def _key_id_of(head: str) -> str:
    """The same of a token's head, which all tokens of one key and one maker share."""
    try:
        # Only the head is looked at; what follows it is checked with the signature.
        header = jwt.get_unverified_header(f"{head}.e30.e30")
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        raise TokenInvalid("the token is not a JWT") from None
    if header.get("alg") != ALGORITHM:
        raise TokenInvalid(f"the token must be signed with {ALGORITHM}")
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise TokenInvalid("the token names no key (kid)")
    return kid


def _reason(error: Exception) -> str:
    """Our own words: a library's text may quote what the token says."""
    match error:
        case jwt.InvalidSignatureError():
            return "the token's signature does not match its key"
        case jwt.InvalidAudienceError():
            return "the token is meant for another audience"
        case jwt.InvalidIssuerError():
            return "the token comes from another issuer"
        case jwt.MissingRequiredClaimError():
            return f"the token lacks the claim {error.claim}"
        case _:
            return "the token cannot be verified"


def check_times(claims: dict[str, Any], now_s: float, leeway_s: float) -> None:
    """Raises TokenExpired after exp + leeway, TokenInvalid before iat or nbf - leeway (WSA-04).

    TokenInvalid too for a life over TOKEN_LIFE_MAX_S: revocations are not kept for longer.
    """
    for name in ("exp", "iat", "nbf"):
        value = claims.get(name)
        if name == "nbf" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e11:
            raise TokenInvalid(f"the token's {name} must be seconds since the epoch")
    if now_s >= int(claims["exp"]) + leeway_s:
        raise TokenExpired("the token's time is over")
    if claims["exp"] - claims["iat"] > TOKEN_LIFE_MAX_S:
        raise TokenInvalid(f"the token's life is over {TOKEN_LIFE_MAX_S // 86_400} days")
    if max(claims["iat"], claims.get("nbf") or 0) > now_s + leeway_s:
        raise TokenInvalid("the token is not valid yet; check both clocks")


def principal(claims: dict[str, Any]) -> Principal:
    """Verified claims -> Principal; raises TokenInvalid naming the claim (contract: Tokens).

    Servers act by their scopes and overlays only watch, so a role counts for users alone.
    """
    subject, kind, token_id = claims.get("sub"), claims.get("kind"), claims.get("jti")
    if not isinstance(subject, str) or not is_id(subject):
        raise TokenInvalid("the token's sub must be an id", field="sub")
    if kind not in _KINDS:
        raise TokenInvalid(f"the token's kind must be one of {', '.join(_KINDS)}", field="kind")
    if not isinstance(token_id, str) or not 0 < len(token_id) <= 128:
        raise TokenInvalid("the token's jti must be text of 1 to 128 characters", field="jti")
    role = claims.get("role", Role.SPECTATOR.name)
    if not isinstance(role, str) or role not in Role.__members__:
        raise TokenInvalid(
            f"the token's role must be one of {', '.join(Role.__members__)}", field="role"
        )
    scope = _texts(claims.get("scope", []), "scope", SCOPES_MAX, lambda t: 0 < len(t) <= TEXT_MAX)
    games = None
    if "games" in claims:
        games = _texts(claims["games"], "games", GAMES_MAX, is_id)
    return Principal(
        subject=subject,
        kind=kind,
        role=Role[role] if kind == "user" else Role.SPECTATOR,
        scope=scope if kind != "overlay" else frozenset(),
        games=games,
        overlay_room=_overlay_room(claims.get("subject")) if kind == "overlay" else None,
        expires_at_s=int(claims["exp"]),
        issued_at_s=int(claims["iat"]),
        token_id=token_id,
    )


def _texts(value: Any, name: str, length_max: int, fits: Callable[[str], bool]) -> frozenset[str]:
    if (
        not isinstance(value, list)
        or len(value) > length_max
        or not all(isinstance(item, str) and fits(item) for item in value)
    ):
        raise TokenInvalid(f"the token's {name} must be a list of names", field=name)
    return frozenset(value)


def _overlay_room(subject: Any) -> str:
    """The one room of an overlay token: `user:ID` stands for that user's feed, overlay:ID."""
    try:
        if not isinstance(subject, str):
            raise InvalidSchema("missing")
        kind, room_id = split_room(subject)
    except InvalidSchema:
        raise TokenInvalid(
            "an overlay token's subject must be a room (kind:id) or user:ID", field="subject"
        ) from None
    return f"overlay:{room_id}" if kind == "user" else subject


# -- at the door ----------------------------------------------------------------------------------


def token_from(request: web.BaseRequest) -> str | None:
    """The token of a request: Authorization: Bearer, the subprotocol gamehub.token.*, or ?token=.

    The first that is there counts (contract: Tokens; WSA-01). None when there is none.
    """
    headers = request.headers
    return find_token(
        headers.get("Authorization", ""),
        headers.getall("Sec-WebSocket-Protocol", ()),
        request.query.get("token"),
    )


def find_token(authorization: str, offered: Iterable[str], in_query: str | None) -> str | None:
    """`token_from` of plain values; `offered`: the lines of Sec-WebSocket-Protocol."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return rest.strip()
    for line in offered:
        for name in line.split(","):
            name = name.strip()
            if name.startswith(TOKEN_SUBPROTOCOL) and len(name) > len(TOKEN_SUBPROTOCOL):
                return name[len(TOKEN_SUBPROTOCOL) :]
    return in_query or None


async def authenticated(request: web.Request) -> Principal:
    """Who sends this HTTP request; also kept as request[PRINCIPAL] for the access log.

    Raises Unauthenticated, TokenExpired, TokenInvalid or Unavailable.
    """
    token = token_from(request)
    if token is None:
        raise Unauthenticated("a token is needed: Authorization: Bearer <token>")
    who = await request.app[CONTEXT].auth.verify(token)
    request[PRINCIPAL] = who
    return who


async def require(request: web.Request, role: Role, shown_in: str | None = None) -> Principal:
    """The principal, if it has at least this role (SEC-06: the one place for roles over HTTP).

    Server tokens count as SPECTATOR. Overlay tokens read nothing but what is shown in their room,
    where a handler names one in `shown_in`. Raises Forbidden, or what `authenticated` raises.
    """
    who = await authenticated(request)
    if who.kind == "overlay" and (shown_in is None or who.overlay_room != shown_in):
        raise Forbidden("an overlay token shows one room and reads nothing else over HTTP")
    if who.role < role:
        raise Forbidden(f"this needs the role {role.name}")
    return who


async def require_user(request: web.Request) -> Principal:
    """The principal, if it is a user's: for what is one's own. Raises like `require`.

    A server may have the id of a user, and must not read what is that user's.
    """
    who = await require(request, Role.SPECTATOR)
    if who.kind != "user":
        raise Forbidden("this needs a user's token")
    return who


async def require_scope(request: web.Request, scope: str) -> Principal:
    """The principal, if it is a server's with this scope; raises like `require`."""
    who = await authenticated(request)
    if who.kind != "server" or scope not in who.scope:
        raise Forbidden(f"this needs a server token with the scope {scope}")
    return who
