"""The keys of tokens: public ones from a JWKS, cached and kept fresh, and the one that signs."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from jwt.algorithms import RSAAlgorithm

from domain.errors import StartError, TokenInvalid, Unavailable

log = structlog.get_logger(__name__)

ALGORITHM = "RS256"  # the only one (AUTH-03)
SIGNED_MAX = 5_000  # overlays' tokens remembered, about 1 KiB each; the one used longest ago goes
KEY_BITS_MIN = 2048  # RFC 7518, section 3.3; weaker keys of a set are skipped
KEYS_MAX = 100  # keys of a set beyond this are skipped
JWKS_BYTES_MAX = 262_144  # a larger set is refused; the old keys stay
# An unknown kid asks the source again, but not more often than this: made-up kids cost nothing.
UNKNOWN_KID_REFETCH_S = 10.0
# A JWKS URL is asked again after so long, so that a key taken out of it stops working here.
URL_MAX_AGE_S = 300.0
URL_RETRY_S = 30.0  # after a failed refresh
URL_TIMEOUT_S = 5.0
FILE_CHECK_S = 1.0  # a JWKS file's modification time is looked at no more often than this

Keys = dict[str, RSAPublicKey]


def parse_jwks(text: bytes) -> Keys:
    """kid -> key for every RSA signing key of a JWKS (RFC 7517); others are skipped.

    Raises ValueError when the text is no JWKS or has no usable key.
    """
    if len(text) > JWKS_BYTES_MAX:
        raise ValueError(f"larger than {JWKS_BYTES_MAX} bytes")
    document = json.loads(text)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("not a JWKS: it has no list of keys")
    keys: Keys = {}
    for jwk in listed[:KEYS_MAX]:
        kid = jwk.get("kid") if isinstance(jwk, dict) else None
        key = _rsa_key(jwk) if isinstance(kid, str) and kid else None
        if key is not None:
            assert isinstance(kid, str)
            keys[kid] = key
    if not keys:
        raise ValueError(f"no RSA signing key of at least {KEY_BITS_MIN} bits with a kid")
    return keys


def _rsa_key(jwk: dict[str, Any]) -> RSAPublicKey | None:
    if jwk.get("kty") != "RSA" or jwk.get("use", "sig") != "sig":
        return None
    if jwk.get("alg", "RS256") != "RS256":
        return None
    try:
        # Only the public members are read, whatever else the set holds.
        key = RSAAlgorithm.from_jwk({name: jwk[name] for name in ("kty", "n", "e")})
    except (jwt.PyJWTError, KeyError, ValueError, TypeError):
        return None
    if not isinstance(key, RSAPublicKey) or key.key_size < KEY_BITS_MIN:
        return None
    return key


class KeySource:
    """Keys by kid from one place; a place that fails leaves the keys that are known in force.

    `changed` is called after the keys changed, so that what was verified with the old ones can be
    forgotten. `monotonic` gives seconds.
    """

    def __init__(
        self,
        place: str | None,
        *,
        changed: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = place
        self._is_url = place is not None and place.startswith(("http://", "https://"))
        self._changed = changed
        self._monotonic = monotonic
        self._keys: Keys = {}
        self._due_at = 0.0
        self._failure = ""
        self._missed_at: float | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._fetching = asyncio.Lock()
        self._refresh: asyncio.Task[None] | None = None

    @property
    def keys(self) -> Keys:
        """The keys in force."""
        return self._keys

    async def get(self, kid: str) -> RSAPublicKey:
        """The key; raises TokenInvalid for an unknown kid, Unavailable while there are no keys."""
        self.look()
        key = self._keys.get(kid)
        if key is None:
            await self._look_again()
            key = self._keys.get(kid)
        if key is not None:
            return key
        if self._keys or self._place is None:
            raise TokenInvalid("the token names a key that is not in the JWKS")
        raise Unavailable(
            "the keys that tokens are checked with cannot be read",
            retry_after_ms=round(UNKNOWN_KID_REFETCH_S * 1000),
        )

    def look(self) -> None:
        """Notices a changed file, and starts the refresh of an old URL; never waits."""
        if self._monotonic() < self._due_at:
            return
        if not self._is_url:
            self._read_file()
        elif self._keys and (self._refresh is None or self._refresh.done()):
            self._refresh = asyncio.get_running_loop().create_task(self._fetch())

    async def close(self) -> None:
        """Ends a refresh under way."""
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.gather(self._refresh, return_exceptions=True)

    async def _look_again(self) -> None:
        async with self._fetching:
            now = self._monotonic()
            if self._missed_at is not None and now - self._missed_at < UNKNOWN_KID_REFETCH_S:
                return
            self._missed_at = now
            if self._is_url:
                await self._fetch()
            else:
                self._read_file()

    async def _fetch(self) -> None:
        assert self._place is not None
        try:
            # A redirect would let another host name the keys: it counts as a failure.
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=URL_TIMEOUT_S)) as http,
                http.get(self._place, allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    raise ValueError(f"status {answer.status}")
                text = b""
                async for part in answer.content.iter_chunked(16384):
                    text += part
                    if len(text) > JWKS_BYTES_MAX:
                        break
            self._take(parse_jwks(text))
            self._due_at = self._monotonic() + URL_MAX_AGE_S
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._failed(error)
            self._due_at = self._monotonic() + URL_RETRY_S

    def _read_file(self) -> None:
        if self._place is None:
            return
        self._due_at = self._monotonic() + FILE_CHECK_S
        try:
            with open(self._place, "rb") as file:
                status = os.fstat(file.fileno())
                stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                if stamp == self._stamp:
                    return
                self._take(parse_jwks(file.read(JWKS_BYTES_MAX + 1)))
                self._stamp = stamp
        except (OSError, ValueError) as error:
            self._failed(error)

    def _take(self, keys: Keys) -> None:
        before = {kid: key.public_numbers() for kid, key in self._keys.items()}
        after = {kid: key.public_numbers() for kid, key in keys.items()}
        self._keys = keys
        self._failure = ""
        if before != after:
            log.info("jwks_loaded", kids=sorted(keys))
            self._changed()

    def _failed(self, error: Exception) -> None:
        failure = str(error)[:200] or type(error).__name__
        if failure != self._failure:  # said once, not at every look
            log.warning("jwks_failed", error=failure, keys_kept=len(self._keys))
        self._failure = failure


class SigningKey:
    """The private key, read when it is first needed and again when its file changes."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._stamp: tuple[int, int] | None = None
        self._key: RSAPrivateKey | None = None
        self._kid = ""
        self._signed: OrderedDict[str, str] = OrderedDict()

    def sign(self, claims: dict[str, Any]) -> str:
        """The claims as a token; raises StartError when the key cannot be read."""
        self._look()
        assert self._key is not None
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self._kid})

    def sign_once(self, claims: dict[str, Any]) -> str:
        """Like `sign`; the same claims again cost no signature (most of a millisecond each)."""
        self._look()
        name = json.dumps(claims, sort_keys=True)
        token = self._signed.pop(name, None) or self.sign(claims)
        self._signed[name] = token
        if len(self._signed) > SIGNED_MAX:
            self._signed.popitem(last=False)
        return token

    def _look(self) -> None:
        try:
            status = self._path.stat()
            if (status.st_mtime_ns, status.st_ino) != self._stamp:
                self._load(self._path.read_bytes())
                self._stamp = (status.st_mtime_ns, status.st_ino)
        except (OSError, ValueError, TypeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not an RSA key in PEM"
            raise StartError(f"cannot read the signing key {self._path}: {reason}") from None

    def _load(self, pem: bytes) -> None:
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("not RSA")
        self._key, self._kid = key, thumbprint(key)
        self._signed.clear()


def thumbprint(key: RSAPrivateKey) -> str:
    """The kid of a key that gamehub made: its JWK thumbprint (RFC 7638)."""
    members = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    needed = {name: members[name] for name in ("e", "kty", "n")}
    canonical = json.dumps(needed, separators=(",", ":"), sort_keys=True).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
