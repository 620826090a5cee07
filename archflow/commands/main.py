"""The process ``archflow``: every error that a user can cause is one line, and the exit code tells its kind.

0 done, 1 failed, 2 wrong use, 130 interrupted. No other module of archflow is imported before Ctrl-C is handled.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from types import FrameType
from typing import Any

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

RESUMED_BY = {
    **dict.fromkeys(("pretrain", "proxies"), "--resume"),
    "search": "--resume, if there is a --storage,",
    **dict.fromkeys(("evaluate", "reproduce"), "the same command"),
}
"""How to resume the verbs that save their work."""


def main() -> None:
    """Run the command and exit; a bug in archflow keeps its traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have us ignore it
        signal.signal(signal.SIGINT, _interrupt)
    if not sys.warnoptions:  # unless the user chose which warnings to see
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", module="archflow")
        warnings.formatwarning = _one_line
    try:
        from archflow.commands.app import app

        code = app(prog_name="archflow", standalone_mode=False) or DONE
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        mistake = _mistake(error)
        if mistake is None:
            raise
        if mistake:
            print(f"archflow: {' '.join(mistake.split())}", file=sys.stderr)
        code = WRONG_USE
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the interpreter's own clean-up is left
    if code == INTERRUPTED:
        print(_interruption(), file=sys.stderr)
    sys.exit(code)


def _one_line(message: Warning | str, *_: Any, **__: Any) -> str:
    return f"archflow: warning: {' '.join(str(message).split())}\n"


def _interrupt(_: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; but exit at once during an import, where it may be lost or break a module."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
            os.write(2, f"{show_cursor}{_interruption()}\n".encode())
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _interruption() -> str:
    resumed_by = [RESUMED_BY[word] for word in sys.argv[1:] if word in RESUMED_BY][:1]
    return "archflow: interrupted" + "".join(f"; {how} resumes from what was saved" for how in resumed_by)


def _mistake(error: Exception) -> str | None:
    """The message for a user's mistake; None for a bug in archflow; empty if the help was shown instead."""
    if hasattr(error, "format_message"):  # a usage error from Typer
        message: str = error.format_message()
        context = getattr(error, "ctx", None)
        return message and f"{message} (see {context.command_path if context else 'archflow'} --help)"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate" in str(error):
        return f"there is not enough memory for this ({' '.join(str(error).split())[:200] or 'none is left'})"
    return str(error) if isinstance(error, ValueError | OSError | ModuleNotFoundError) else None
