"""Pipelines: what happens because something happened."""
