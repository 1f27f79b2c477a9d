"""A viewer's rooms and open questions over one hub, sans-I/O: messages in, messages out.

It outlives connections: after each `welcome` it says again what must be said again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from protocol.messages import History, Joined, Left, Message, Presence, Refused
from protocol.mirror import Mirror, Step, event_of

Answer = Joined | Left | History | Presence | Refused


@dataclass(slots=True)
class Question:
    """Something asked that has no answer yet; `tag` is for whoever waits (None: nobody does)."""

    message: dict[str, Any]
    tag: Any = None

    @property
    def op(self) -> str:
        """What was asked."""
        return str(self.message["op"])

    @property
    def room(self) -> str:
        """The room it is about."""
        return str(self.message["room"])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a message did: values for the reader, messages for the hub, questions answered."""

    messages: list[Message]
    to_hub: list[dict[str, Any]]
    answered: list[tuple[Question, Answer]]
    retry: tuple[str, int] | None = None


class Watch:
    """Rooms of one viewer."""

    def __init__(self) -> None:
        self.rooms: dict[str, Mirror] = {}
        self._questions: dict[int, Question] = {}
        self._ref = 0
        self._on: dict[str, Callable[[dict[str, Any]], Outcome]] = {
            "joined": self._joined,
            "event": self._in_room,
            "snapshot": self._in_room,
            "lagged": self._in_room,
            "left": self._left,
            "history": self._history,
            "presence": self._presence,
            "error": self._error,
        }

    @property
    def asking(self) -> bool:
        """Whether somebody waits for an answer."""
        return any(question.tag is not None for question in self._questions.values())

    # -- what the viewer wants --------------------------------------------------------------------

    def join(
        self, room: str, *, since: dict[str, Any] | None = None, tag: Any = None
    ) -> dict[str, Any]:
        """Wants to be in a room, from `since` on where it is given; the message to send."""
        mirror = self.rooms.get(room)
        if mirror is None:
            since = since or {}
            mirror = Mirror(room, epoch=since.get("epoch"), offset=since.get("offset", 0))
            self.rooms[room] = mirror
        return self._ask({"op": "join", "room": room}, tag)

    def leave(self, room: str, tag: Any = None) -> dict[str, Any]:
        """Wants to be out of a room; the message to send."""
        self.rooms.pop(room, None)
        self._forget_joins(room)
        return self._ask({"op": "leave", "room": room}, tag)

    def ask(self, message: dict[str, Any], tag: Any) -> dict[str, Any]:
        """Asks for history or presence; the message to send."""
        return self._ask(message, tag)

    def withdraw(self, tag: Any) -> None:
        """Nobody waits for the answer to this question any more."""
        for question in self._questions.values():
            if question.tag is tag:
                question.tag = None

    def rejoin(self, room: str) -> list[dict[str, Any]]:
        """Joins again, unless that is under way or no longer wanted."""
        if room not in self.rooms or self._joining(room):
            return []
        return [self._ask({"op": "join", "room": room}, None)]

    def _ask(self, message: dict[str, Any], tag: Any) -> dict[str, Any]:
        self._ref += 1
        question = Question({**message, "ref": self._ref}, tag)
        self._questions[self._ref] = question
        return self._current(question)

    def _current(self, question: Question) -> dict[str, Any]:
        """The question's message, with the position that is known now."""
        mirror = self.rooms.get(question.room)
        if question.op != "join" or mirror is None:
            return question.message
        since = mirror.since()
        return question.message if since is None else {**question.message, "since": since}

    def _joining(self, room: str) -> bool:
        return any(q.op == "join" and q.room == room for q in self._questions.values())

    def _forget_joins(self, room: str) -> None:
        for ref, question in list(self._questions.items()):
            if question.op == "join" and question.room == room and question.tag is None:
                del self._questions[ref]

    # -- what the hub says ------------------------------------------------------------------------

    def welcomed(self) -> list[dict[str, Any]]:
        """A (new) connection: all rooms are joined again and open questions asked again."""
        for ref, question in list(self._questions.items()):
            if question.tag is None:
                del self._questions[ref]
        again = [self._current(question) for question in self._questions.values()]
        for room in self.rooms:
            again += self.rejoin(room)
        return again

    def received(self, message: dict[str, Any]) -> Outcome:
        """One message of the hub; what is not understood is ignored (hubs learn new words)."""
        handle = self._on.get(str(message.get("op")))
        return Outcome([], [], []) if handle is None else handle(message)

    def _joined(self, message: dict[str, Any]) -> Outcome:
        question = self._questions.pop(message.get("ref", 0), None)
        mirror = self.rooms.get(message["room"])
        if mirror is None:
            late = Refused(code="left", message="the room was left meanwhile", room=message["room"])
            return Outcome([], [], [(question, late)] if question else [])
        step = mirror.joined(message)
        if step.rejoin is not None:
            # The answer had a hole; whoever waits gets the next one.
            again = self._ask({"op": "join", "room": mirror.room}, question and question.tag)
            return Outcome([], [again], [])
        first = step.messages[0]
        assert isinstance(first, Joined)
        return Outcome(step.messages, [], [(question, first)] if question else [])

    def _in_room(self, message: dict[str, Any]) -> Outcome:
        mirror = self.rooms.get(message["room"])
        if mirror is None:
            return Outcome([], [], [])
        step: Step = getattr(mirror, message["op"])(message)
        again = [] if step.rejoin is None else self.rejoin(mirror.room)
        return Outcome(step.messages, again, [])

    def _left(self, message: dict[str, Any]) -> Outcome:
        question = self._questions.pop(message.get("ref", 0), None)
        if question is None:
            self.rooms.pop(message["room"], None)
        left = Left(room=message["room"])
        return Outcome([left], [], [(question, left)] if question else [])

    def _history(self, message: dict[str, Any]) -> Outcome:
        question = self._questions.pop(message.get("ref", 0), None)
        events = [event_of(each) for each in message["events"]]
        page = History(room=message["room"], epoch=message["epoch"], events=events)
        return Outcome([], [], [(question, page)] if question else [])

    def _presence(self, message: dict[str, Any]) -> Outcome:
        question = self._questions.pop(message.get("ref", 0), None)
        presence = Presence(room=message["room"], counts=message["counts"])
        return Outcome([], [], [(question, presence)]) if question else Outcome([presence], [], [])

    def _error(self, message: dict[str, Any]) -> Outcome:
        question = self._questions.pop(message.get("ref", 0), None)
        refused = Refused(
            code=message["code"],
            message=message["message"],
            field=message.get("field"),
            retry_after_ms=message.get("retry_after_ms"),
            room=None if question is None else question.room,
        )
        if question is None:
            return Outcome([refused], [], [])
        waited = question.tag is not None
        if question.op == "join" and not waited and refused.retry_after_ms is not None:
            return Outcome([refused], [], [], retry=(question.room, refused.retry_after_ms))
        if question.op == "join":
            self.rooms.pop(question.room, None)
        return Outcome([] if waited else [refused], [], [(question, refused)])
