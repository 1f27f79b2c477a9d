"""Notices: which facts a user is told of, in what words, and which alike ones become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

# Notices of one inbox. Over it read ones go first, then the oldest (NOTF-08).
INBOX_MAX = 200
# Of the facts that a notice tells as one, it lists the newest and the first; the others only count.
ITEMS_MAX = 10
# As notification.created declares them; longer words are cut.
TITLE_MAX = 100
BODY_MAX = 500

Item = Mapping[str, Any]
# Newest first, at least one, and how many facts there are in all -> (title, body).
Words = Callable[[Sequence[Item], int], tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How facts of one type become notices.

    keep: the fields of the fact that a notice keeps. alike: the field whose value makes notices
    alike, "" when all of the type are: while one is unread, the next alike one joins it (NOTF-04).
    """

    keep: tuple[str, ...]
    words: Words
    alike: str = ""


@dataclass(slots=True)
class Notice:
    """One entry of an inbox; it tells `count` facts, of which `items` are the newest. Times in ms.

    log_seq: the last fact that it tells of. read_at_ms: None while it is unread.
    """

    notification_id: UUID
    user_id: str
    type: str
    group_key: str
    created_at_ms: int
    updated_at_ms: int
    log_seq: int
    count: int
    items: list[dict[str, Any]]
    read_at_ms: int | None = None

    def words(self) -> tuple[str, str]:
        """(title, body) for people."""
        title, body = KINDS[self.type].words(self.items, self.count)
        return _cut(title, TITLE_MAX), _cut(body, BODY_MAX)


def group_of(fact_type: str, payload: Mapping[str, Any]) -> tuple[str, str, str]:
    """(user id, type, group key) of the notice that tells this fact, one of KINDS."""
    alike = KINDS[fact_type].alike
    return payload["user_id"], fact_type, str(payload[alike]) if alike else ""


def notice_of(
    notification_id: UUID, fact_type: str, payload: Mapping[str, Any], *, at_ms: int, log_seq: int
) -> Notice:
    """A new notice of one fact."""
    user_id, _, group_key = group_of(fact_type, payload)
    return Notice(
        notification_id=notification_id,
        user_id=user_id,
        type=fact_type,
        group_key=group_key,
        created_at_ms=at_ms,
        updated_at_ms=at_ms,
        log_seq=log_seq,
        count=1,
        items=[_item(fact_type, payload)],
    )


def join(notice: Notice, payload: Mapping[str, Any], *, at_ms: int, log_seq: int) -> None:
    """An unread notice tells one more fact, of its type and group."""
    notice.items.insert(0, _item(notice.type, payload))
    if len(notice.items) > ITEMS_MAX:
        # The first one stays: what a change came from in all is told by it.
        del notice.items[-2]
    notice.count += 1
    notice.updated_at_ms = max(notice.updated_at_ms, at_ms)
    # A dead letter that is tried again is older than what was told meanwhile.
    notice.log_seq = max(notice.log_seq, log_seq)


def _item(fact_type: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    return {name: payload.get(name) for name in KINDS[fact_type].keep}


# -- the words -------------------------------------------------------------------------------------


def _achievements(items: Sequence[Item], count: int) -> tuple[str, str]:
    if count == 1:
        return "Achievement unlocked", f"{items[0]['title']}: {items[0]['description']}"
    return f"{count} achievements unlocked", _list([each["title"] for each in items], count)


def _levels(items: Sequence[Item], _count: int) -> tuple[str, str]:
    return f"Level {items[0]['new']} reached", f"Up from level {items[-1]['old']}."


def _rewards(items: Sequence[Item], count: int) -> tuple[str, str]:
    told = [f"tier {each['tier']}: {_reward(each['reward'])}" for each in items]
    if count == 1:
        return "Battle pass reward earned", _capital(told[0])
    return f"{count} battle pass rewards earned", _capital(_list(told, count))


def _rank(items: Sequence[Item], _count: int) -> tuple[str, str]:
    new, old = items[0]["new"], items[-1]["old"]
    if old is None:
        body = "New on the board."
    elif old == new:
        body = "Back where you were."
    else:
        body = f"{'Up' if new < old else 'Down'} from {ordinal(old)}."
    return f"You are {ordinal(new)} in {items[0]['game']}", body


def _placements(items: Sequence[Item], count: int) -> tuple[str, str]:
    told = [f"{each['tournament_id']}: {ordinal(each['placement'])}" for each in items]
    if count == 1:
        team = items[0]["team_id"]
        title = f"You finished {ordinal(items[0]['placement'])}"
        return title, f"In {items[0]['tournament_id']}" + (f" with {team}." if team else ".")
    return f"{count} tournaments finished", _list(told, count)


KINDS: Mapping[str, Kind] = {
    "achievement.unlocked": Kind(
        keep=("achievement_code", "title", "description", "icon", "rarity", "reward"),
        words=_achievements,
    ),
    "player.levelup": Kind(keep=("old", "new"), words=_levels),
    "battlepass.reward_earned": Kind(
        keep=("season_id", "tier", "reward"), alike="season_id", words=_rewards
    ),
    "rank.changed": Kind(keep=("board", "game", "old", "new"), alike="board", words=_rank),
    "tournament.placement": Kind(keep=("tournament_id", "placement", "team_id"), words=_placements),
}


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st, 1,001st."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{'th' if number % 100 in (11, 12, 13) else ending}"


_NAMED_MAX = 3


def _list(names: Sequence[str], count: int) -> str:
    """Some by name, the rest as a number."""
    named = names[:_NAMED_MAX]
    return ", ".join(named) + (f" and {count - len(named)} more" if count > len(named) else "")


def _reward(reward: Item) -> str:
    if reward["type"] == "coins":
        return f"{reward['amount']:,} coins"
    item = reward.get("item") or "an item"
    return f"{reward['amount']:,} x {item}" if reward["amount"] > 1 else str(item)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cut(text: str, length_max: int) -> str:
    return text if len(text) <= length_max else text[: length_max - 1] + "…"
