"""The public names, loaded when first used: `from gamehub import GameServer, Viewer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.client import GameServer, Tournament, Viewer

    __version__: str

__all__ = ["GameServer", "Tournament", "Viewer", "__version__"]


def __getattr__(name: str) -> object:
    """Loads a public name when it is first used (PEP 562), so that the command line starts fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("gamehub")
    if name in __all__:
        from protocol import client

        return getattr(client, name)
    raise AttributeError(f"module 'gamehub' has no attribute {name!r}")
