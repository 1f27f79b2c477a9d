"""The match documents that a game server has told so far, to answer `need_state`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from protocol.mergepatch import apply_patch

# Matches whose document is kept; at the limit the one that was quiet for longest is forgotten, and
# a hub that asks for it gets no answer.
DOCUMENTS_MAX = 1024
# Ended matches are kept for a while, because frames after the result are allowed.
ENDED_MAX = 32


class Documents:
    """Documents by match id, each as of the last frame that left the buffer."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, Any] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        # Matches of an earlier process: their documents are known again with a `live.state`.
        self.unknown: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, match: str) -> bool:
        return match in self._of

    def __len__(self) -> int:
        return len(self._of)

    def names(self) -> list[str]:
        """Matches that had a document."""
        return [*self.unknown, *self._of]

    def forget(self, matches: Iterable[str]) -> None:
        """An earlier process told these documents; we have only what came last."""
        self.unknown.update(dict.fromkeys(matches))
        while len(self.unknown) > DOCUMENTS_MAX:
            self.unknown.popitem(last=False)

    def get(self, match: str) -> Any:
        """The whole document, or None for a match that never had one."""
        return self._of.get(match)

    def replace(self, match: str, document: Any) -> None:
        """A `live.state` went out."""
        self.unknown.pop(match, None)
        self._of[match] = document
        self._of.move_to_end(match)
        if len(self._of) > DOCUMENTS_MAX:
            self._of.popitem(last=False)

    def patch(self, match: str, patch: dict[str, Any]) -> None:
        """A frame with a patch went out."""
        if match in self.unknown:
            return
        self.replace(match, apply_patch(self._of.get(match), patch))

    def ended(self, match: str) -> None:
        """The match has its result; of those only the latest are kept."""
        self._ended[match] = None
        self._ended.move_to_end(match)
        if len(self._ended) > ENDED_MAX:
            oldest, _ = self._ended.popitem(last=False)
            self._of.pop(oldest, None)
            self.unknown.pop(oldest, None)
