"""`gamehub deadletters | quarantine`: what was set aside, why, and another try for it."""

from __future__ import annotations

import typer

deadletters_app = typer.Typer(help="Events that a pipeline could not digest.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Facts that the hub refused.", no_args_is_help=True)
