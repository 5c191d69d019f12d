"""Command-line options that several commands share, and the values that options take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="TWINWATCH_CONFIG", help="Configuration file.", show_default=True)
]
BundleOption = Annotated[str, typer.Option(help="Trained bundle, by name or path.")]
Device = Literal["auto", "cpu", "cuda"]
ReportFormat = Literal["table", "jsonl", "csv"]
