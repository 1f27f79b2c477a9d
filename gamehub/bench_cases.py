"""The names of the cases of `gamehub bench --only`."""

from __future__ import annotations

from enum import StrEnum


class Part(StrEnum):
    """What is measured."""

    APPEND = "append"  # group commits and /ingest beside COPY
    ACK = "ack"  # how soon a FACT is acked, beside the disk's fsync
    FOLD = "fold"  # beside one message per match, and beside its own writes
    STORY = "story"  # from the server's frame to the player's socket
    REBUILD = "rebuild"  # the fold once more over the whole log
