"""How HTTP handlers say what they take and answer, for the published OpenAPI document (GW-11).

@operation(tag="matches", answers={200: MatchPage}, query=MatchQuery, example=Example(...))
async def list_matches(request): ...

The handler's docstring is the description. A test finds routes without one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

from msgspec import Struct

from domain.errors import GamehubError

Handler = TypeVar("Handler", bound=Callable[..., Any])
# Who may: anybody without a token, or who holds a token of this kind.
Who = Literal[
    "nobody", "viewer", "player", "organizer", "tournament", "admin", "server", "scheduler"
]
_ATTRIBUTE = "__operation__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One request and what it is answered; path and query values as text, unescaped."""

    answer: Any
    status: int = 200
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one handler takes and answers.

    answers: the body's type by status, None for no JSON body; `media` names another type then.
    errors: what it may refuse besides the usual (no good token, a malformed request, an outage).
    path: meanings of the path's parts; query: a type with one field per parameter.
    etag: the answer has an ETag, and 304 tells who has it already.
    """

    tag: str
    answers: Mapping[int, type[Struct] | None]
    who: Who = "viewer"
    path: Mapping[str, str] = field(default_factory=dict)
    query: type[Struct] | None = None
    body: type[Struct] | None = None
    errors: tuple[type[GamehubError], ...] = ()
    media: tuple[str, ...] = ("application/json",)
    example: Example | None = None
    etag: bool = False


def operation(
    *,
    tag: str,
    answers: Mapping[int, type[Struct] | None],
    who: Who = "viewer",
    path: Mapping[str, str] | None = None,
    query: type[Struct] | None = None,
    body: type[Struct] | None = None,
    errors: tuple[type[GamehubError], ...] = (),
    media: tuple[str, ...] = ("application/json",),
    example: Example | None = None,
    etag: bool = False,
) -> Callable[[Handler], Handler]:
    """Puts a description on a handler; nothing changes for requests."""
    described = Operation(
        tag=tag, answers=answers, who=who, path=path or {}, query=query, body=body,
        errors=errors, media=media, example=example, etag=etag,
    )  # fmt: skip

    def describe(handler: Handler) -> Handler:
        setattr(handler, _ATTRIBUTE, described)
        return handler

    return describe


def bare(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler's own function, under what the route table bound to it."""
    while isinstance(handler, partial):
        handler = handler.func
    return handler


def operation_of(handler: Callable[..., Any]) -> Operation | None:
    """What the handler says of itself; None when it says nothing."""
    found: Operation | None = getattr(bare(handler), _ATTRIBUTE, None)
    return found
