"""The command line: parses and dispatches; heavy imports happen inside commands."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings

STOPPED = 130


def main() -> None:
    """Run `mpdd`; a user's mistake ends in one line and exit code 2, another known failure in one and exit code 1."""
    from typer import Abort

    from mpdd.cli.app import app
    from mpdd.cli.interrupt import insistent
    from mpdd.errors import MpddError

    _silence_libraries()
    if isinstance(sys.stdout, io.TextIOWrapper):  # characters that its encoding lacks are no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with insistent():
            code = app(prog_name="mpdd", standalone_mode=False)
    except MpddError as error:
        _leave(str(error), error.exit_code)
    except (KeyboardInterrupt, Abort):
        code = STOPPED
    except OSError as error:  # of a file: where the system's own words say all there is to say
        if not error.filename:
            raise
        _leave(f"{error.filename} cannot be used; found {error.strerror}.", 2)
    except Exception as error:  # what typer says of a wrong command line; its class moved between versions
        if not hasattr(error, "format_message"):
            raise
        _leave(_usage(error), 2)
    if code == STOPPED:
        _leave("stopped; the same command takes a run on from here.", STOPPED)
    sys.exit(code if isinstance(code, int) else 0)


def _leave(message: str, code: int) -> None:
    if message:
        from mpdd.errors import printable

        print("mpdd:", printable(" ".join(message.split())), file=sys.stderr)
    sys.exit(code)


def _usage(error: Exception) -> str:
    """What is wrong with the command line and where its help is; nothing where the help was just printed."""
    said: str = error.format_message().strip()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    return f"{said.rstrip('.')}. See `{context.command_path if context else 'mpdd'} --help`." if said else ""


def _silence_libraries() -> None:
    """Keep the libraries' bars, notices and warnings off the screen; who sets these variables still sees them."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it wherever it is installed
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
