"""Game servers' streams: ingest over sockets and HTTP."""
