"""The command line: parses and dispatches; heavy imports happen inside commands."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 130
AGAIN = 0.5  # seconds after which an interrupt comes again


def main() -> None:
    """Run `mpdd`; a user's mistake ends in one line and exit code 2, another known failure in one and exit code 1."""
    from typer import Abort

    from mpdd.cli.app import app
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
    message: str = error.format_message().strip()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    return f"{message.rstrip('.')}. See `{context.command_path if context else 'mpdd'} --help`." if message else ""


def _silence_libraries() -> None:
    """Keep the libraries' bars, notices and warnings off the screen; who sets these variables still sees them."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of each retry
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it wherever it is installed
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


@contextmanager
def insistent() -> Iterator[None]:
    """Within, a Ctrl-C is not lost, as when Python drops one in a destructor or a callback: it comes
    again every `AGAIN` seconds until it ends the block (where the system has such a clock)."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt), signal.signal(signal.SIGALRM, interrupt)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGALRM, before[1])
