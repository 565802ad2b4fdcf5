"""Headless Chromium for tests, spoken to by its DevTools protocol over a pipe: no package, no port, no driver.

`--remote-debugging-pipe` takes JSON on file descriptor 3 and answers on 4, each message ended by a zero byte.
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TIMEOUT = 60  # seconds for any answer
FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-extensions",
    "--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-US", "about:blank",
)  # fmt: skip


def executable() -> str | None:
    """Chromium, where there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextlib.contextmanager
def chromium() -> Iterator["Page"]:
    """A fresh browser with one empty page; its whole process group ends with the block."""
    ours_in, theirs_out = os.pipe()
    theirs_in, ours_out = os.pipe()
    # 3 and 4 may be any of the four; dup2 below must not overwrite one before it is copied.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (theirs_in, theirs_out)]
    profile = tempfile.mkdtemp(prefix="chromium-")
    command = [executable(), f"--user-data-dir={profile}", *FLAGS]
    devnull = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, devnull, fd) for fd in (0, 1, 2)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, target) for fd, target in zip(high, (3, 4), strict=True)]
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions, setpgroup=0)
    for fd in (theirs_in, theirs_out, *high, devnull):
        os.close(fd)
    try:
        yield Page(ours_in, ours_out)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ours_in)
        os.close(ours_out)
        shutil.rmtree(profile, ignore_errors=True)


class Page:
    """One page. `problems` are console errors and uncaught exceptions, `requests` the addresses it asked for."""

    def __init__(self, read: int, write: int):
        self._read, self._write, self._buffer, self._last = read, write, b"", 0
        self._session: str | None = None
        self._loaded = False
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command's result. Raises RuntimeError when the browser refuses it, TimeoutError when it is silent."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._last:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + TIMEOUT
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError("chromium does not answer")
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise RuntimeError("chromium has ended")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        found = event.get("params", {})
        match event.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Runtime.exceptionThrown":
                self.problems.append(json.dumps(found["exceptionDetails"])[:2000])
            case "Runtime.consoleAPICalled" if found["type"] in ("error", "warning", "assert"):
                self.problems.append(json.dumps(found["args"])[:2000])
            case "Log.entryAdded" if found["entry"]["level"] in ("error", "warning"):
                self.problems.append(found["entry"]["text"] + " " + found["entry"].get("url", ""))
            case "Network.requestWillBeSent":
                self.requests.append(found["request"]["url"])

    def open(self, place: Path | str | None) -> None:
        """Load a file from the disk, an address, or an empty page for None, and wait until it has loaded."""
        self._loaded = False
        address = place.resolve().as_uri() if isinstance(place, Path) else place or "about:blank"
        self.call("Page.navigate", url=address)
        while not self._loaded:
            self._note(self._next())

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited. Raises AssertionError with the page's exception."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, condition: str, seconds: float = TIMEOUT) -> None:
        """Wait until an expression in the page is true. Raises AssertionError with the page's text if it never is."""
        end = time.monotonic() + seconds
        while not self.run(f"!!({condition})"):
            assert time.monotonic() < end, f"{condition} stays false; {self.run('document.body.innerText')}"
            time.sleep(0.1)

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in the element `selector`, as a person does in the dialog."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path.resolve())])

    def press(self, key: str, modifiers: int = 0) -> None:
        """A key by its DOM name, such as ArrowRight, Tab, Enter; modifiers: 8 is Shift."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "End": 35, "Home": 36}
        codes |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        about = {"key": key, "code": "Space" if key == " " else key, "modifiers": modifiers}
        about["windowsVirtualKeyCode"] = codes[key]
        text = {"Enter": "\r", " ": " "}.get(key)
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self.call("Input.insertText", text=text)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """`Moved`, `Pressed` or `Released`, at CSS pixels of the window, with the left button."""
        button = {"button": "left", "buttons": 0 if kind == "Released" else 1, "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **button)

    def look(self, width: int, scheme: str, height: int = 900) -> None:
        """Set the window's size, and `light` or `dark`."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path, selector: str | None = None) -> None:
        """The whole page, or an element of it, as PNG. Pictures that load late are waited for."""
        self.run("""(async () => {
            document.querySelectorAll("img[loading]").forEach((image) => (image.loading = "eager"));
            await Promise.all([...document.images].map((image) => image.decode().catch(() => 0)));
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        })()""")
        box = self.run(f"""(() => {{
            const box = document.querySelector({json.dumps(selector or "html")}).getBoundingClientRect();
            return [box.left + scrollX, box.top + scrollY, box.width, box.height];
        }})()""")
        clip = dict(zip(("x", "y", "width", "height"), box, strict=True), scale=1)
        found = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self, path: Path) -> None:
        """The page as it prints."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"]))
