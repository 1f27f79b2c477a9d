"""Lines of duels: a user's part of each waits, and many of one user are counted at a time.

Of ten thousand users each one's rows lie far apart in memory, and to fetch them for each result
takes longer than the work itself. So does what waits, if it is objects: it waits packed, a user's
lines side by side, in a tenth of the memory.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from domain import battlepass
from domain.achievements import COINS, coins_of
from domain.results import Outcome
from domain.statistics import DAY_MS, Lifetime, Tally, add_values
from workers.fold.achievements import unlock
from workers.fold.telling import SILENT
from workers.fold.world import Run, Seat, Shape, World

# A user's part of a duel that is rated and not counted yet: when (ms) and how many seconds, the
# outcome, the best rating that there was with it, whether it was an upset, the number in the log.
Line = tuple[int, int, Outcome, int, bool, int]
Row = tuple[int, ...]  # the same unpacked, with its counters
# Both lines of a duel, packed: the first user's with its shape, the second's with its.
Lines = tuple[bytes, str, int, str, int]

# How a line ended, packed. Wins come first: what is less than _LOST is one.
_WON, _WON_UPSET, _LOST, _DREW = range(4)
_ENDS: dict[Outcome, int] = {"win": _WON, "loss": _LOST, "draw": _DREW}
# Matches whose lines were counted and that are still known, before they are forgotten.
CAUSES_MAX = 100_000
# Sets of counters that lines may have; lines with others are counted at once, which takes longer.
SHAPES_MAX = 1_000
# The career's counters that a duel moves.
_COUNTERS = (
    "matches_played", "matches_won", "kills", "best_streak", "best_rating", "upsets", COINS,
)  # fmt: skip


def pack(world: World, game: str, stats: dict[str, float] | None, line: Line) -> tuple[int, bytes]:
    """The number of a line's shape, and the line; raises struct.error for what has no place there.

    That are counters that are no whole numbers, what is greater than any that is real, and one set
    of counters too many.
    """
    at_ms, seconds, outcome, peak, upset, log_seq = line
    names = tuple(stats) if stats else ()
    shape = world.shape_of.get((game, names)) or add_shape(world, game, names)
    end = _WON_UPSET if upset else _ENDS[outcome]
    if stats:
        return shape.number, shape.pack(at_ms, seconds, end, peak, log_seq, *stats.values())
    return shape.number, shape.pack(at_ms, seconds, end, peak, log_seq)


def add_shape(world: World, game: str, names: tuple[str, ...]) -> Shape:
    """The next shape: lines of a game with these counters; raises struct.error at SHAPES_MAX."""

    def place(name: str) -> int:
        return names.index(name) if name in names else -1

    if len(world.shapes) == SHAPES_MAX:
        raise struct.error("too many shapes")
    packing = struct.Struct(f"<qqqqq{len(names)}q")
    shape = Shape(
        *(len(world.shapes), game, names, packing.size, packing.pack, packing.iter_unpack),
        *(place("kills"), place("streak")),
    )
    world.shapes.append(shape)
    world.shape_of[game, names] = shape
    return shape


def wait(world: World, match_id: str, log_seq: int, lines: Lines) -> None:
    """The lines of a duel wait, each behind its user's others."""
    rows, user_id, number, other_id, other_number = lines
    shape, other_shape = world.shapes[number], world.shapes[other_number]
    world.causes[log_seq] = match_id
    run = world.waiting.get(user_id)
    if run is None or run.shape is not shape:
        run = _begin(world, user_id, shape, log_seq, run)
    run.rows += rows[: shape.size]
    run = world.waiting.get(other_id)
    if run is None or run.shape is not other_shape:
        run = _begin(world, other_id, other_shape, log_seq, run)
    run.rows += rows[shape.size :]
    world.waiting_bytes += len(rows)


def _begin(world: World, user_id: str, shape: Shape, log_seq: int, before: Run | None) -> Run:
    run = world.waiting[user_id] = Run(shape, log_seq, before)
    if before is None:
        world.uncounted.append((user_id, run))
    return run


def count_all(world: World, bytes_max: int = 0) -> None:
    """Counts the lines of everyone, or of those who have waited longest: so many may wait on."""
    while world.waiting_bytes > bytes_max:
        user_id, first = world.uncounted.popleft()
        if (runs := _runs(world, user_id)) and runs[0] is first:  # else they were counted before
            count_lines(world, user_id)
    if not world.waiting_bytes:
        world.uncounted.clear()
        world.causes.clear()
    elif len(world.causes) > CAUSES_MAX + 2 * world.causes_kept:
        # No line that waits is older than the first of who has waited longest.
        since = world.uncounted[0][1].first
        world.causes = {seq: match for seq, match in world.causes.items() if seq >= since}
        world.causes_kept = len(world.causes)


def _runs(world: World, user_id: str) -> list[Run]:
    """What waits of a user, in order."""
    runs = []
    run = world.waiting.get(user_id)
    while run is not None:
        runs.append(run)
        run = run.before
    runs.reverse()
    return runs


def count_lines(world: World, user_id: str) -> None:
    """Statistics, XP and achievements of a user's lines, in their order, if any wait."""
    runs = _runs(world, user_id)
    if not runs:
        return
    del world.waiting[user_id]
    for run in runs:
        rows = list(run.shape.unpack(run.rows))
        world.waiting_bytes -= len(run.rows)
        seat = world.seat("user", user_id, run.shape.game)
        _tally(world, seat, run.shape.names, rows)
        _advance(world, user_id, seat, run.shape, rows)


def _tally(world: World, seat: Seat, names: tuple[str, ...], rows: list[Row]) -> None:
    """Lifetime and days, but for the streak."""
    rules = world.rules(seat.key[2])
    begin = 0
    while begin < len(rows):
        at_ms = rows[begin][0]
        number = at_ms // DAY_MS
        until_ms = (number + 1) * DAY_MS
        end = begin + 1
        while end < len(rows) and until_ms - DAY_MS <= rows[end][0] < until_ms:
            end += 1
        day = seat.day
        if day is None or seat.day_number != number or seat.season_id != rules.season_id:
            day = world.turn_to_day(seat, rules.season_id, at_ms)
        times, seconds, ends, _, _, *columns = zip(*rows[begin:end], strict=True)
        lifetime = seat.lifetime
        _count(lifetime, day, times, sum(seconds), ends)
        for name, values in zip(names, columns, strict=True):
            add_values(lifetime.stats, name, values, rules.kinds)
            add_values(day.stats, name, values, rules.kinds)
        begin = end


def _count(
    lifetime: Lifetime, day: Tally, times: Sequence[int], seconds: int, ends: Sequence[int]
) -> None:
    played, lost, drawn = len(ends), ends.count(_LOST), ends.count(_DREW)
    won = played - lost - drawn
    first_ms, last_ms = min(times), max(times)
    if not lifetime.played or first_ms < lifetime.first_ms:
        lifetime.first_ms = first_ms
    if not lifetime.played or last_ms > lifetime.last_ms:
        lifetime.last_ms = last_ms
    lifetime.played += played
    day.played += played
    lifetime.won += won
    day.won += won
    lifetime.lost += lost
    day.lost += lost
    lifetime.drawn += drawn
    day.drawn += drawn
    lifetime.seconds += seconds
    day.seconds += seconds


def _advance(world: World, user_id: str, seat: Seat, shape: Shape, rows: list[Row]) -> None:
    """Streak, career, XP and achievements, line by line, with all that they change at hand."""
    lifetime, person = seat.lifetime, seat.person
    assert person is not None
    kills_at, streak_at = shape.kills, shape.streak
    season = world.battle_pass()
    per_tier = season.xp_per_tier
    xp = person.xp.get(season.season_id, 0)
    tier_at = (xp // per_tier + 1) * per_tier
    career = person.career
    streak = lifetime.streak
    if kills_at >= 0:
        career.setdefault("kills", 0)
    held = [career.get(each, 0) for each in _COUNTERS]
    played, won, kills, best_streak, best_rating, upsets, coins = held
    marks = [person.mark(each) for each in _COUNTERS]
    played_at, won_at, kills_over, streak_over, rating_over, upsets_over, coins_over = marks
    for at_ms, seconds, end, peak, log_seq, *values in rows:
        played += 1
        fought = 0
        if kills_at >= 0:
            fought = values[kills_at]
            kills += fought
        if end < _LOST:
            won += 1
            streak += 1
            upsets += end
            if streak > lifetime.best_streak:
                lifetime.best_streak = streak
            if streak > best_streak:
                best_streak = streak
        else:
            streak = 0
        if peak > best_rating:
            best_rating = peak
        xp += battlepass.match_xp(
            won=end < _LOST,
            kills=fought,
            streak=values[streak_at] if streak_at >= 0 else streak,
            seconds=seconds,
        )
        if xp >= tier_at:
            for tier in battlepass.tiers_between(tier_at - 1, xp, per_tier):
                if (reward := season.rewards.get(tier)) is not None:
                    career.setdefault(COINS, 0)
                    coins += coins_of(reward)
            tier_at = (xp // per_tier + 1) * per_tier
        if (
            played >= played_at or won >= won_at or kills >= kills_over or upsets >= upsets_over
            or best_streak >= streak_over or best_rating >= rating_over or coins >= coins_over
        ):  # fmt: skip
            _store(career, (played, won, kills, best_streak, best_rating, upsets, coins))
            unlock(world, user_id, person, (world.causes[log_seq], at_ms, log_seq), SILENT)
            coins = career.get(COINS, 0)
            marks = [person.mark(each) for each in _COUNTERS]
            played_at, won_at, kills_over, streak_over, rating_over, upsets_over, coins_over = marks
    lifetime.streak = streak
    _store(career, (played, won, kills, best_streak, best_rating, upsets, coins))
    person.xp[season.season_id] = xp


def _store(career: dict[str, float], values: Sequence[float]) -> None:
    for counter, value in zip(_COUNTERS, values, strict=True):
        if value or counter in career:
            career[counter] = value
