"""Tokens, keys and a clock for tests of what stands behind a token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

KEYS = [generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
NOW = 1_800_000_000


def jwk(key: RSAPrivateKey, kid: str, **members: str) -> dict[str, Any]:
    public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**public, "kid": kid, "use": "sig", "alg": "RS256", **members}


def write_jwks(path: Path, *keys: dict[str, Any]) -> None:
    """In one step, as `gamehub` and deployments do it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"keys": list(keys)}))
    fresh.rename(path)


def claims(**changes: Any) -> dict[str, Any]:
    """A good user's claims; a change to None leaves the claim out."""
    whole = {
        "iss": "gamehub",
        "aud": "gamehub",
        "sub": "ana",
        "jti": "j-1",
        "iat": NOW - 10,
        "exp": NOW + 600,
        "kind": "user",
        "role": "PLAYER",
        "scope": [],
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def signed(key: RSAPrivateKey = KEYS[0], kid: str | None = "a", **changes: Any) -> str:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims(**changes), key, algorithm="RS256", headers=headers)


@dataclass
class Clock:
    """Seconds since the epoch and monotonic seconds, moved by hand."""

    now_s: float = NOW
    monotonic_s: float = 1000.0

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.monotonic_s

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.monotonic_s += seconds
