"""The boards pipeline: new ratings go to the boards' sets, what moved to rooms and players.

A fact only says who changed; the places come from ratings.current, so that whatever happens twice,
late or in another order comes to the same sets. Where a set is missing nothing is written: its
keeper (workers.leaderboards.keeper) makes it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from uuid import uuid5

import msgpack
import msgspec
from redis.asyncio import Redis

from domain.events import EVENT_TYPES, rooms_of
from domain.ids import EVENT_NAMESPACE, derived_event_id
from domain.leaderboards import (
    PLAYERS,
    Regions,
    Row,
    board_of,
    has_room,
    split_board,
    subject_type_of,
)
from domain.payloads_derived import BoardRow, LeaderboardUpdated
from storage import leaderboards, log, rooms
from storage.database import Connection
from storage.leaderboards import Member, Moved, News, making, pages, rows
from storage.leaderboards.rows import Key, Standing
from storage.log import Event, LoggedEvent, Transaction
from storage.rooms import Publish
from workers.pipeline import Pipeline

NAME = "boards"
TYPES = frozenset({"rating.updated", "profile.updated"})

# A busy board is pushed so often at most: a hundred rows to everyone who watches, each time.
PACE_S = 0.25

_TOLD = "leaderboard.updated"
_MOVED = "rank.changed"


def pipeline(regions: Regions) -> Pipeline:
    """The pipeline, with the regions of the settings."""
    return Pipeline(NAME, partial(apply, regions=regions), TYPES, pace_s=PACE_S)


async def apply(
    tx: Transaction, redis: Redis, batch: Sequence[LoggedEvent], *, regions: Regions
) -> None:
    """Writes the places of everyone whom the batch names through to all of their boards.

    The first hundred's changes are pushed before the commit and rank.changed is announced with it;
    a batch that is applied again pushes nothing twice and announces the same ranks. Raises
    Unavailable.
    """
    members = await _members(tx.connection, redis, batch, regions)
    moved = await leaderboards.write(
        redis,
        members,
        regions,
        first_seq=batch[0].seq,
        last_seq=batch[-1].seq,
        ts_ms=max(each.occurred_at_ms for each in batch),
    )
    await making.want(redis, sorted(members.keys() - moved.keys()))
    for board, each in moved.items():
        _announce(tx, batch, board, each)
    await tell(tx.connection, redis, sorted(moved))


# -- who stands where ------------------------------------------------------------------------------


async def _members(
    conn: Connection, redis: Redis, batch: Sequence[LoggedEvent], regions: Regions
) -> dict[str, list[Member]]:
    """By board whom to write; users who left a country are taken off its boards."""
    rated = {_key(fact) for fact in batch if fact.type == "rating.updated"}
    played = {_key(fact) for fact in batch if _is_match(fact)}
    changed = [fact.payload for fact in batch if fact.type == "profile.updated"]
    renamed = {each["user_id"] for each in changed if _says(each, "display_name", "country")}
    travelled = {each["user_id"] for each in changed if _says(each, "country")}
    found = {each[:3]: each for each in await rows.standings(conn, rated)}
    found |= {each[:3]: each for each in await rows.of_users(conn, sorted(renamed))}
    members: dict[str, list[Member]] = {}
    for key, standing in found.items():
        told = key[1] == "user" and key[2] in renamed
        for board in _boards(standing, regions):
            asked = key in played and board == board_of(key[0], PLAYERS)
            member = Member(key[2], standing.score, ("t" if told else "") + ("p" if asked else ""))
            members.setdefault(board, []).append(member)
    await _take_off(redis, members, [found[key] for key in found if key[2] in travelled], regions)
    return members


def _boards(standing: Standing, regions: Regions) -> list[str]:
    scopes = regions.scopes(standing.subject_type, standing.country)
    return [board_of(standing.game, scope) for scope in scopes]


async def _take_off(
    redis: Redis,
    members: dict[str, list[Member]],
    travelled: Iterable[Standing],
    regions: Regions,
) -> None:
    users = [each for each in travelled if each.subject_type == "user"]
    regional = await making.region_boards(redis, sorted({each.game for each in users}))
    for each in users:
        for board in set(regional[each.game]) - set(_boards(each, regions)):
            members.setdefault(board, []).append(Member(each.id, None))


def _key(fact: LoggedEvent) -> Key:
    kind, _, subject_id = fact.payload["subject"].partition(":")
    return fact.payload["game"], kind, subject_id


def _is_match(fact: LoggedEvent) -> bool:
    return fact.type == "rating.updated" and fact.payload.get("reason", "match") == "match"


def _says(payload: Mapping[str, object], *names: str) -> bool:
    fields = payload.get("changed_fields")
    return isinstance(fields, list) and any(name in fields for name in names)


# -- what players hear -----------------------------------------------------------------------------


def _announce(
    tx: Transaction, batch: Sequence[LoggedEvent], board: str, moved: Sequence[Moved]
) -> None:
    """rank.changed for each player whose own matches moved it (LB-11): once per batch."""
    game, _ = split_board(board)
    causes = {_key(fact): fact for fact in batch if _is_match(fact)}
    for each in sorted(moved, key=lambda one: causes[game, "user", one.id].seq):
        if each.after is None or each.after == each.before:
            continue
        cause, subject = causes[game, "user", each.id], f"user:{each.id}"
        log.announce(
            tx,
            Event(
                event_id=derived_event_id(cause.root_id, _MOVED, subject, board),
                type=_MOVED,
                v=EVENT_TYPES[_MOVED].v,
                subject=subject,
                cause_id=cause.event_id,
                root_id=cause.root_id,
                occurred_at_ms=cause.occurred_at_ms,
                payload={
                    "user_id": each.id,
                    "board": board,
                    "game": game,
                    "old": each.before,
                    "new": each.after,
                },
            ),
        )


# -- what rooms hear -------------------------------------------------------------------------------


async def tell(conn: Connection, redis: Redis, boards: Sequence[str]) -> None:
    """Pushes what changed among the first hundred of these boards and was not pushed (LB-08).

    The event's id comes from board and version: whoever tells it again, after a crash or beside
    another worker, is not heard twice. Raises Unavailable.
    """
    news = await leaderboards.news(redis, boards)
    shown = await rows.shown(conn, {key for each in news for key in _subjects(each)})
    batch = [
        publish
        for each in news
        if has_room(each.board)
        for publish in _publishes(
            each,
            [
                pages.row(key, rank, kept, shown)
                for key, (rank, kept, _) in zip(_subjects(each), each.rows, strict=True)
            ],
        )
    ]
    await rooms.publish(redis, batch, answered=False)
    await leaderboards.told(redis, news)


def _subjects(news: News) -> list[Key]:
    game, scope = split_board(news.board)
    return [(game, subject_type_of(scope), subject_id) for _, _, subject_id in news.rows]


def _publishes(news: News, shown: Sequence[Row]) -> list[Publish]:
    payload = msgspec.to_builtins(
        LeaderboardUpdated(
            board=news.board,
            version=news.version,
            size=news.size,
            rows=[
                BoardRow(
                    rank=each.rank,
                    id=each.id,
                    name=each.name,
                    rating=each.rating,
                    wins=each.wins,
                    tier=each.tier,
                    trend=each.trend,
                    country=each.country,
                )
                for each in shown
            ],
        )
    )
    event_id = str(uuid5(EVENT_NAMESPACE, f"{_TOLD}\n{news.board}\n{news.version}"))
    return [
        Publish(
            room,
            msgpack.packb({"type": _TOLD, "id": event_id, "ts": news.ts_ms, "data": data}),
            event_id=event_id,
        )
        for room, data in rooms_of(_TOLD, payload)
    ]
