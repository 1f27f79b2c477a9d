"""WebSocket as a server speaks it, sans-I/O: bytes in, messages and control frames out."""
