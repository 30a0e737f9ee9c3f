"""Flower tells its makers that it was started, and asks them for updates, unless two variables say no. Here they must."""

from __future__ import annotations

import os
from collections.abc import Mapping

from mpdd.errors import InputError

SILENCE: Mapping[str, str] = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}


def require_silence() -> None:
    """Raise `InputError` unless Flower was started so that nothing phones home."""
    if any(os.environ.get(name) != value for name, value in SILENCE.items()):
        wanted = " ".join(f"{name}={value}" for name, value in SILENCE.items())
        raise InputError("Flower phones home as it was started here", wanted=f"the environment {wanted}")


def be_silent() -> None:
    """Set the variables for this process and those that it starts."""
    os.environ.update(SILENCE)
