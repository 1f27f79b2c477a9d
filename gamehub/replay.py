"""`gamehub replay`: recorded matches go through a game server's door, at their pace or faster.

It is an ordinary GameServer: it survives losses of the hub, may run twice at once, and may be run
again; what the hub has already is acked and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from domain.times import parse_time
from gamehub.replay_document import LiveFrame, RecordedMatch
from gamehub.replay_format import (
    Recording,
    completed_data,
    events_of,
    open_recording,
    scheduled_data,
    scheduled_without_record,
    started_data,
)
from protocol.client import FrameRefused, GameServer, Receipt
from protocol.client_link import TokenSource

# Another server that holds a match may give it up: tried again for so long, with new numbers.
HOLDER_PATIENCE_S = 20.0
HOLDER_RETRY_S = 0.5
# After the last frame the hub gets so long to acknowledge everything.
FLUSH_TIMEOUT_S = 120.0
# LIVE refusals after which the rest of a match's LIVE frames is not sent either.
NOT_OURS = frozenset({"not_holder", "unknown_match"})
# A pause shorter than this is made up for by the next one.
PAUSE_MIN_S = 0.005
# The connection's own tasks get a turn after so many events without a pause.
BREATH_EVENTS = 50
# FACTs whose answer is awaited, or that wait for another server: over it the replay waits.
WATCHERS_MAX = 2000
# Matches that are started before the first of them gets its result: FACTs of one match go to the
# log one after the other, those of many matches together.
WINDOW = 128


@dataclass(frozen=True, slots=True)
class Fact:
    """A FACT to send; `ts_ms` None: now."""

    type: str
    data: dict[str, Any]
    ts_ms: int | None = None


@dataclass(slots=True)
class ReplayReport:
    """What happened: counts by kind, refusals by code."""

    events: int = 0
    events_skipped: int = 0
    live_refused: Counter[str] = field(default_factory=Counter)
    facts_acked: Counter[str] = field(default_factory=Counter)
    facts_refused: Counter[str] = field(default_factory=Counter)
    facts_retried: int = 0
    dropped: int = 0
    duration_s: float = 0.0

    def lines(self) -> Iterator[str]:
        """The report for people."""
        acked = ", ".join(f"{n:,} {name}" for name, n in sorted(self.facts_acked.items()))
        yield f"{self.events:,} live events sent in {self.duration_s:.1f} s"
        yield f"{self.facts_acked.total():,} FACTs acknowledged ({acked or 'none'})"
        if self.facts_retried:
            yield f"{self.facts_retried:,} tried again while another server held the match"
        for name, counts in (("FACTs", self.facts_refused), ("LIVE frames", self.live_refused)):
            for code, count in sorted(counts.items()):
                yield f"{count:,} {name} refused: {code}"
        if self.events_skipped:
            yield f"{self.events_skipped:,} live events left out: another server holds their match"


async def replay(
    files: Sequence[Path],
    url: str,
    token: TokenSource,
    *,
    speed: float = 1.0,
    max_gap_s: float | None = None,
    progress: bool = True,
    server_id: str | None = None,
) -> ReplayReport:
    """Replays matches files, live files, or both (docs/replay-format.md) into the hub at `url`.

    speed: times the recorded pace of live events; max_gap_s: longest pause, in recorded seconds.
    The token needs the scopes ingest, match:create and import. Raises InvalidSchema for files of
    another shape, ConnectionRefused, HubUnreachable, Undelivered.
    """
    recording = await asyncio.to_thread(open_recording, files)
    console = Console(stderr=True)
    started_s = time.monotonic()
    async with GameServer(url, token, server_id=server_id, flush_timeout_s=FLUSH_TIMEOUT_S) as hub:
        run = _Replay(hub, recording, speed, max_gap_s)
        with _bar(console, progress) as bar:
            await run.play(bar)
    report = run.report
    report.dropped = hub.dropped
    report.duration_s = time.monotonic() - started_s
    if progress:
        for line in report.lines():
            console.print(line, highlight=False)
    return report


@contextlib.contextmanager
def _bar(console: Console, shown: bool) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not shown, transient=True) as bar:
        yield bar


class _Replay:
    """One run: the server, the files, and what became of each FACT."""

    def __init__(
        self, hub: GameServer, recording: Recording, speed: float, max_gap_s: float | None
    ) -> None:
        self.hub = hub
        self.recording = recording
        self.report = ReplayReport()
        self._pace = Pace(speed, max_gap_s)
        self._scheduled = self._schedule()
        self._playing: dict[str, RecordedMatch] = {}
        self._not_ours: set[str] = set()
        self._regained: set[str] = set()
        self._watchers: set[asyncio.Task[None]] = set()

    def _schedule(self) -> dict[str, dict[str, Any]]:
        """match.scheduled of every match, in the order in which they will be played."""
        found = {m: scheduled_data(record) for m, record in self.recording.matches.items()}
        for match_id, index in self.recording.live.items():
            if match_id not in found:
                found[match_id] = scheduled_without_record(match_id, index)
        return found

    async def play(self, bar: Progress) -> None:
        """All of it; returns when the hub has answered every frame."""
        try:
            for match_id, data in bar.track(self._scheduled.items(), description="scheduling"):
                await self._send(match_id, [Fact("match.scheduled", data)])
            if self.recording.live_files:
                await self._play_live(bar)
            await self._play_results(bar)
            while self._watchers:
                await self._watched()
            await self.hub.flush(FLUSH_TIMEOUT_S)
            self._note_refusals()
        finally:
            for watcher in self._watchers:
                watcher.cancel()
            await asyncio.gather(*self._watchers, return_exceptions=True)

    async def _play_results(self, bar: Progress) -> None:
        """Matches without live events, by their time: the log's order is the order of rating."""
        task = bar.add_task("results", total=len(self.recording.matches))
        records = [
            record
            for match_id, record in self.recording.matches.items()
            if match_id not in self.recording.live
        ]
        for first in range(0, len(records), WINDOW):
            window = records[first : first + WINDOW]
            facts = [[self._start_of(record), _result(record)] for record in window]
            started = [
                await self._hand_over(record["match_id"], both[:1])
                for record, both in zip(window, facts, strict=True)
            ]
            for record, both, receipts in zip(window, facts, started, strict=True):
                match_id = record["match_id"]
                receipts += await self._hand_over(match_id, both[1:])
                await self._watch_later(match_id, both, receipts)
                bar.advance(task)

    def _start_of(self, record: dict[str, Any]) -> Fact:
        return self._start(record["match_id"], record.get("started_at") or record["played_at"])

    def _start(self, match_id: str, started_at: str) -> Fact:
        data = started_data(self._scheduled[match_id], started_at)
        return Fact("match.started", data, parse_time(started_at, "started_at"))

    # -- live events ------------------------------------------------------------------------------

    async def _play_live(self, bar: Progress) -> None:
        task = bar.add_task("live", total=self.recording.events)
        for count, (at_ms, event) in enumerate(events_of(self.recording.live_files), 1):
            await self._pace.until(at_ms)
            await self._event(event, at_ms)
            if count % BREATH_EVENTS == 0:
                bar.update(task, completed=count)
                self._note_refusals()
                await asyncio.sleep(0)
        bar.update(task, completed=self.recording.events)

    async def _event(self, event: dict[str, Any], at_ms: int) -> None:
        match_id = event["match_id"]
        match = self._playing.get(match_id)
        if match is None:
            match = await self._begin(match_id, event["at"], at_ms)
        if match_id in self._regained:
            self._regained.discard(match_id)
            await self._live(match_id, match.opening(), at_ms)
        frames = match.frames(event, at_ms)
        if match_id in self._not_ours:
            self.report.events_skipped += 1
        else:
            self.report.events += 1
            for frame in frames:
                await self._live(match_id, frame, at_ms)
        if match.events_left == 0:
            del self._playing[match_id]
            if match.record is not None:
                await self._send(match_id, [_result(match.record)])

    async def _begin(self, match_id: str, at: str, at_ms: int) -> RecordedMatch:
        record = self.recording.matches.get(match_id)
        events = self.recording.live[match_id].events
        match = RecordedMatch(match_id, self._scheduled[match_id], record, events)
        self._playing[match_id] = match
        started_at = (record or {}).get("started_at") or at
        await self._send(match_id, [self._start(match_id, started_at)])
        await self._live(match_id, match.opening(), at_ms)
        return match

    async def _live(self, match_id: str, frame: LiveFrame, at_ms: int) -> None:
        await self.hub.ready()
        self.hub.live(frame.type, match_id, frame.data, frame.patch, at_ms)

    def _note_refusals(self) -> None:
        """LIVE refusals come by themselves: a match that is not ours is not sent on."""
        while self.hub.refusals:
            refusal = self.hub.refusals.popleft()
            if refusal.frame_class == "live":
                self.report.live_refused[refusal.code] += 1
                if refusal.code in NOT_OURS and refusal.match is not None:
                    self._not_ours.add(refusal.match)

    # -- FACTs and what became of them ------------------------------------------------------------

    async def _send(self, match_id: str, facts: list[Fact]) -> None:
        """Hands over FACTs in their order; their receipts are watched beside everything else."""
        await self._watch_later(match_id, facts, await self._hand_over(match_id, facts))

    async def _watch_later(self, match_id: str, facts: list[Fact], receipts: list[Receipt]) -> None:
        while len(self._watchers) >= WATCHERS_MAX:
            await self._watched()
        self._watchers.add(asyncio.create_task(self._watch(match_id, facts, receipts)))

    async def _hand_over(self, match_id: str, facts: list[Fact]) -> list[Receipt]:
        return [await self.hub.fact(fact.type, match_id, fact.data, fact.ts_ms) for fact in facts]

    async def _watched(self) -> None:
        done, self._watchers = await asyncio.wait(
            self._watchers, return_when=asyncio.FIRST_COMPLETED
        )
        for watcher in done:
            watcher.result()

    async def _watch(self, match_id: str, facts: list[Fact], receipts: list[Receipt]) -> None:
        """Counts what was acked and refused; what another server holds is tried again for a while.

        Raises what ended the connection (ConnectionRefused, Undelivered).
        """
        deadline_s = time.monotonic() + HOLDER_PATIENCE_S
        while True:
            held_elsewhere: list[Fact] = []
            for fact, receipt in zip(facts, receipts, strict=True):
                try:
                    await receipt
                except FrameRefused as refusal:
                    if refusal.code == "not_holder" and time.monotonic() < deadline_s:
                        held_elsewhere.append(fact)
                    else:
                        self.report.facts_refused[refusal.code] += 1
                else:
                    self.report.facts_acked[fact.type] += 1
                    self._regain(match_id, fact)
            if not held_elsewhere:
                return
            self._not_ours.add(match_id)
            self.report.facts_retried += len(held_elsewhere)
            await asyncio.sleep(HOLDER_RETRY_S)
            facts = held_elsewhere
            receipts = await self._hand_over(match_id, facts)

    def _regain(self, match_id: str, fact: Fact) -> None:
        """The other server gave the match up: ours goes on with the whole document."""
        if fact.type == "match.started" and match_id in self._not_ours:
            self._not_ours.discard(match_id)
            self._regained.add(match_id)


def _result(record: dict[str, Any]) -> Fact:
    played_ms = parse_time(record["played_at"], "played_at")
    return Fact("match.completed", completed_data(record), played_ms)


class Pace:
    """Holds events to their recorded pace, `speed` times as fast, without long pauses."""

    def __init__(self, speed: float, max_gap_s: float | None) -> None:
        self._speed = speed
        self._max_gap_s = max_gap_s
        self._before_ms: int | None = None
        self._recorded_s = 0.0
        self._started_s = 0.0

    async def until(self, at_ms: int) -> None:
        """Returns when it is time for an event of `at_ms`."""
        if self._before_ms is None:
            self._started_s = time.monotonic()
        else:
            gap_s = (at_ms - self._before_ms) / 1000
            self._recorded_s += gap_s if self._max_gap_s is None else min(gap_s, self._max_gap_s)
        self._before_ms = at_ms
        pause_s = self._started_s + self._recorded_s / self._speed - time.monotonic()
        if pause_s > PAUSE_MIN_S:
            await asyncio.sleep(pause_s)
