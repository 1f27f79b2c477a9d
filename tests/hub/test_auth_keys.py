"""Keys: rotation in a file and behind a URL, a source that fails, sets with strange keys."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from domain.errors import TokenInvalid, Unavailable
from domain.settings import Settings
from hub import auth_keys
from hub.auth import Authenticator
from tests.hub.tokens import KEYS, NOW, Clock, jwk, signed, write_jwks


def spoil(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jwks_file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    write_jwks(path, jwk(KEYS[0], "a"))
    return path


@pytest.fixture
def door(jwks_file: Path, clock: Clock) -> Authenticator:
    settings = Settings(jwks=str(jwks_file))
    return Authenticator(settings, now=clock.now, monotonic=clock.monotonic)


async def test_a_rotated_file_is_read_again(
    door: Authenticator, jwks_file: Path, clock: Clock
) -> None:
    await door.verify(signed())
    write_jwks(jwks_file, jwk(KEYS[0], "a"), jwk(KEYS[1], "b"))
    await door.verify(signed(KEYS[1], "b"))  # an unknown kid looks at once
    write_jwks(jwks_file, jwk(KEYS[1], "b"))
    clock.pass_s(auth_keys.FILE_CHECK_S)
    with pytest.raises(TokenInvalid, match="key"):
        await door.verify(signed())  # its key was taken out: what was remembered is forgotten


@pytest.mark.parametrize("text", ["", "{}", '{"keys": []}', "[1]", '{"keys": [{"kty": "EC"}]}'])
async def test_a_broken_file_leaves_the_known_keys(
    door: Authenticator, jwks_file: Path, clock: Clock, text: str
) -> None:
    await door.verify(signed())
    spoil(jwks_file, text)
    clock.pass_s(auth_keys.FILE_CHECK_S)
    await door.verify(signed(jti="j-2"))


async def test_without_any_key_the_answer_is_try_later(tmp_path: Path, clock: Clock) -> None:
    settings = Settings(jwks=str(tmp_path / "absent.json"))
    door = Authenticator(settings, now=clock.now, monotonic=clock.monotonic)
    with pytest.raises(Unavailable):
        await door.verify(signed())


def test_small_and_foreign_keys_of_a_set_are_skipped() -> None:
    small = generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
    listed = [
        jwk(small, "small"),
        jwk(KEYS[0], "encrypts", use="enc"),
        jwk(KEYS[0], "other", alg="RS512"),
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kty": "oct", "kid": "secret", "k": "AAAA"},
        "text",
        jwk(KEYS[0], "good"),
    ]
    assert list(auth_keys.parse_jwks(json.dumps({"keys": listed}).encode())) == ["good"]


@dataclass
class KeyServer:
    """A JWKS URL that counts its readers and can be told what to say."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    asked: int = 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response({"keys": self.keys}, status=self.status)


@pytest.fixture
async def key_server() -> AsyncIterator[KeyServer]:
    served = KeyServer(keys=[jwk(KEYS[0], "a")])
    app = web.Application()
    app.router.add_get("/jwks", served.answer)
    async with TestServer(app) as server:
        served.url = str(server.make_url("/jwks"))
        yield served


@pytest.fixture
async def url_door(key_server: KeyServer, clock: Clock) -> AsyncIterator[Authenticator]:
    settings = Settings(jwks=key_server.url)
    opened = Authenticator(settings, now=clock.now, monotonic=clock.monotonic)
    yield opened
    await opened.close()


async def test_a_url_is_asked_once_and_an_unknown_kid_asks_again(
    url_door: Authenticator, key_server: KeyServer, clock: Clock
) -> None:
    await url_door.verify(signed())
    await url_door.verify(signed(jti="j-2"))
    assert key_server.asked == 1
    key_server.keys.append(jwk(KEYS[1], "b"))
    clock.pass_s(auth_keys.UNKNOWN_KID_REFETCH_S)
    await url_door.verify(signed(KEYS[1], "b"))
    assert key_server.asked == 2


async def test_made_up_kids_ask_at_most_every_ten_seconds(
    url_door: Authenticator, key_server: KeyServer, clock: Clock
) -> None:
    await url_door.verify(signed())
    clock.pass_s(auth_keys.UNKNOWN_KID_REFETCH_S)
    for number in range(5):
        with pytest.raises(TokenInvalid):
            await url_door.verify(signed(kid=f"made-up-{number}"))
    assert key_server.asked == 2


async def test_a_url_that_fails_leaves_the_known_keys(
    url_door: Authenticator, key_server: KeyServer, clock: Clock
) -> None:
    await url_door.verify(signed())
    key_server.status = 500
    clock.pass_s(auth_keys.URL_MAX_AGE_S)
    with pytest.raises(TokenInvalid):
        await url_door.verify(signed(KEYS[1], "b"))
    await url_door.verify(signed(exp=NOW + 3600, jti="j-2"))


async def test_an_old_url_is_asked_again_in_the_background(
    url_door: Authenticator, key_server: KeyServer, clock: Clock
) -> None:
    token = signed(exp=NOW + 3600)
    await url_door.verify(token)
    key_server.keys = [jwk(KEYS[1], "b")]
    clock.pass_s(auth_keys.URL_MAX_AGE_S)
    await url_door.verify(token)  # starts the refresh, does not wait for it
    refresh = url_door._keys._refresh
    assert refresh is not None
    await refresh
    with pytest.raises(TokenInvalid):
        await url_door.verify(token)
