"""All that two reproductions share, and how a program of this checkout is stopped before it begins."""

import os
import signal
import sys
import warnings


def stop(number: int, frame: object) -> None:
    """End the process on Ctrl-C while it imports its modules: nothing is begun, so that nothing is left to be undone.

    A KeyboardInterrupt there would be a traceback, or be lost in a library that catches everything.
    `program.run` replaces this handler.
    """
    os.write(2, b"stopped\n")
    os._exit(128 + number)


def hush_libraries() -> None:
    """Show no warnings of libraries: whoever runs a command can mend none of them. Python's -W shows them again."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


# While Python looks for the module that `python -m` names, that is what stands here.
_IS_PROGRAM = getattr(sys, "argv", [])[:1] == ["-m"]
if _IS_PROGRAM and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, stop)
if _IS_PROGRAM:
    hush_libraries()
