"""The command line: parses and dispatches; heavy imports happen inside commands."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run `mpdd`; a user's mistake ends in one sentence and exit code 2, another known failure in exit code 1."""
    from mpdd.cli.app import app
    from mpdd.errors import MpddError

    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        app()
    except MpddError as error:
        print(f"mpdd: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("mpdd: stopped; the same command goes on from here.", file=sys.stderr)
        sys.exit(130)
