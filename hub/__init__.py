"""The door for sockets and HTTP."""
