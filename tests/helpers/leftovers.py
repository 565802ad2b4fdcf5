"""Names of what a killed process of this machine left half-written."""

import os
import subprocess
import sys
from pathlib import Path

from common.files import half_written


def killed_name(kind: str, rest: str) -> str:
    """A name of the kind that `half_written` gives, of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    mine, theirs = f"-{os.getpid()}-", f"-{ended.pid}-"
    return f"{half_written(kind, Path('never there')).removesuffix(mine)}{theirs}{rest}"
