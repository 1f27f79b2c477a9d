"""Viewers' sockets: sessions, rooms and fan-out."""
