"""A game server without asyncio and without the SDK: plain HTTP requests with JSON.

    python examples/sync_server.py http://127.0.0.1:8000 TOKEN

One POST carries any number of frames, and its answer comes after the commit. FACTs and LIVE frames
each count their own `seq` from 1. When a request fails, send the same frames again: what the hub
has already changes nothing. A match is held for 10 seconds after the last request.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
import urllib.error
import urllib.request
import uuid


class Ingest:
    """One stream of frames; keep `stream` and the numbers if you restart in the middle."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/") + "/api/v1/ingest"
        self.token = token
        self.stream = secrets.token_hex(16)
        self.seq = {"live": 0, "fact": 0}

    def frame(self, kind: str, match: str, data: dict, patch: dict | None = None) -> dict:
        """A frame with its number: FACTs are match.scheduled, match.started, match.completed..."""
        live = kind.startswith("live.") or kind == "match.score_updated"
        road = "live" if live else "fact"
        self.seq[road] += 1
        frame = {"seq": self.seq[road], "type": kind, "match": match, "data": data}
        frame["ts"] = time.time_ns() // 1_000_000
        return frame if patch is None else {**frame, "patch": patch}

    def send(self, *frames: dict) -> dict:
        """Posts until the hub has answered; raises RuntimeError with what it refused."""
        body = json.dumps({"stream": self.stream, "frames": frames}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        for pause_s in (0.5, 1, 2, 4, 8, 0):
            request = urllib.request.Request(self.url, body, headers)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    said = json.load(answer)
                break
            except urllib.error.HTTPError as error:
                if (error.code < 500 and error.code != 429) or not pause_s:
                    raise RuntimeError(error.read().decode()) from None
            except OSError:
                if not pause_s:
                    raise
            time.sleep(pause_s)
        if said["nacks"]:
            raise RuntimeError(f"refused: {said['nacks']}")
        return said


def main(url: str, token: str) -> None:
    """Plays one match."""
    hub = Ingest(url, token)
    match = f"demo/{uuid.uuid4()}"
    sides = [{"id": side, "name": side.title(), "type": "user"} for side in ("ada", "grace")]
    start = {"game": "chess", "competitors": sides}
    hub.send(
        hub.frame("match.started", match, start),
        hub.frame("live.state", match, {"phase": "live", "series": {"ada": 0, "grace": 0}}),
    )
    for number, move in enumerate(("e4", "e5", "Nf3"), 1):
        hub.send(hub.frame("live.move", match, {"move": move}, {"moves": {str(number): move}}))
    played_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    scores = {"ada": 1, "grace": 0}
    result = {"winner_id": "ada", "scores": scores, "played_at": played_at}
    print(hub.send(hub.frame("match.completed", match, result)))


if __name__ == "__main__":
    main(*sys.argv[1:3])
