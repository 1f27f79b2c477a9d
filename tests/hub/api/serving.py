"""The HTTP API on a real port, with the services that a test hands in."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import asyncpg
import jwt
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives import serialization

from domain.settings import Settings
from hub.api import errors, routes
from hub.api.bodies import BODY_BYTES_MAX
from hub.audit import AuditWriter
from hub.auth import Authenticator
from hub.auth_keys import thumbprint
from hub.context import CONTEXT, Context
from hub.metrics import Metrics
from hub.standing import Standing
from storage import redis as redis_store
from tests.hub.tokens import KEYS, claims, jwk

Client = TestClient[web.Request, web.Application]
KID = thumbprint(KEYS[0])
NOWHERE = "redis://127.0.0.1:1/0"


def token(**changes: Any) -> str:
    """A token that is good now, for SPECTATOR ana unless changed."""
    now = int(time.time())
    whole = claims(**{"role": "SPECTATOR", "iat": now, "exp": now + 600, **changes})
    return jwt.encode(whole, KEYS[0], algorithm="RS256", headers={"kid": KID})


def bearer(**changes: Any) -> dict[str, str]:
    """The header of a request with such a token."""
    return {"Authorization": f"Bearer {token(**changes)}"}


def _write_keys(folder: str) -> tuple[str, str]:
    jwks, signing = Path(folder) / "jwks.json", Path(folder) / "signing.pem"
    jwks.write_text(json.dumps({"keys": [jwk(KEYS[0], KID)]}))
    signing.write_bytes(
        KEYS[0].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(jwks), str(signing)


@asynccontextmanager
async def serving(
    pool: asyncpg.Pool | None = None,
    redis_url: str = NOWHERE,
    *,
    more: list[web.RouteDef] | None = None,
    **settings: Any,
) -> AsyncIterator[Client]:
    """A client of the API; without a pool only what needs no database works."""
    with tempfile.TemporaryDirectory() as folder:
        jwks, signing = _write_keys(folder)
        chosen = Settings(jwks=jwks, jwt_signing_key_file=signing).with_(**settings)
        redis = redis_store.connect(redis_url, socket_timeout_s=2.0)
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        measured = Metrics()
        audit = AuditWriter(cast("asyncpg.Pool", pool), measured)
        if pool is not None:
            audit.start()
        app[CONTEXT] = Context(
            settings=chosen,
            node=f"test-{os.getpid()}",
            pool=cast("asyncpg.Pool", pool),
            redis=redis,
            auth=Authenticator(chosen),
            standing=Standing(cast("asyncpg.Pool", pool), redis),
            metrics=measured,
            audit=audit,
            started_at_s=time.time(),
        )
        errors.install(app)
        app.add_routes(routes.routes())
        app.add_routes(more or [])
        try:
            async with TestClient(TestServer(app)) as client:
                yield client
        finally:
            await audit.stop()
            await redis.aclose()
