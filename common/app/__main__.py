"""`python -m common.app`: serve the page to this machine's browser until Ctrl-C; `make app` runs it."""

import argparse
import importlib.util
import socket
import sys
from pathlib import Path

from common import program
from common.console import show
from common.errors import UserError

ADDRESS, PORT = "127.0.0.1", 8501
LARGEST_UPLOAD = 32  # MB
SCRIPT = Path(__file__).with_name("script.py")
# Streamlit's options: for this machine alone, nothing reported or fetched, no traceback, no reload when files change.
OPTIONS = {
    "server.address": ADDRESS,
    "server.allowedHosts": (ADDRESS, "localhost"),
    "server.headless": True,
    "server.maxUploadSize": LARGEST_UPLOAD,
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "logger.level": "error",
    "logger.hideWelcomeMessage": True,
    "theme.light.primaryColor": "#2b6cb0",
    "theme.dark.primaryColor": "#4a90d9",
}


def main(arguments: list[str] | None = None) -> int:
    """Serve the page; returns the exit status: 0 after Ctrl-C, 2 wrong arguments, or no Streamlit."""
    parser = program.ArgumentParser(
        prog="python -m common.app",
        description="Serve a page to try networks on: pictures go in, overlays and label maps come out. It answers "
        "this machine alone, and needs no network.",
        example="--port 8600",
    )
    parser.add_argument(
        "--port", type=program.whole_number(1, 65535), default=PORT, metavar="N", help="default: %(default)s"
    )
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    if importlib.util.find_spec("streamlit") is None:
        raise UserError("the page needs Streamlit, which is not installed; `make app` installs it and serves the page")
    _refuse_taken_port(args.port)
    from streamlit.web import cli

    show(f"http://{ADDRESS}:{args.port} is the page; Ctrl-C ends it")
    options = {**OPTIONS, "server.port": args.port}
    flags = [f"--{name}={one}" for name, value in options.items() for one in _values(value)]
    cli.main(["run", str(SCRIPT), *flags], standalone_mode=False)


def _values(value: object) -> list[str]:
    """A value of OPTIONS as flags have it, and each of several."""
    return list(value) if isinstance(value, tuple) else [str(value).lower() if isinstance(value, bool) else str(value)]


def _refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a server does
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"--port {port}: cannot be listened on ({reason}); take another one") from None


if __name__ == "__main__":
    sys.exit(main())
