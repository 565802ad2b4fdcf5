"""A web server on this machine that misbehaves on demand, and the archives that it serves."""

import contextlib
import http.server
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator

from common.downloads import download


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by path; `answers` holds what else to do for the next requests of a path, in order."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, list] = {}
        self.requests: list[tuple[str, dict]] = []
        self.etag = '"one"'

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def ranges(self):
        return [headers.get("Range") for _, headers in self.requests]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path[1:]
        self.server.requests.append((path, dict(self.headers)))
        if self.server.answers.get(path):
            return self.server.answers[path].pop(0)(self)
        return ranged(self) if path in self.server.files else self.send_error(404)

    def body(self):
        return self.server.files[self.path[1:]]

    def reply(self, status, body, length=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def whole(handler):
    """As if there were no Range."""
    handler.reply(200, handler.body())


def ranged(handler):
    match = re.match(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    body, etag = handler.body(), handler.server.etag
    if not match or handler.headers.get("If-Range", etag) != etag:
        return handler.reply(200, body, ETag=etag)
    start = int(match[1])
    return handler.reply(206, body[start:], ETag=etag, Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}")


def breaks_after(count, **headers):
    return lambda handler: handler.reply(
        200, handler.body()[:count], length=len(handler.body()), **(headers or {"ETag": handler.server.etag})
    )


def status(code, **headers):
    return lambda handler: handler.reply(code, b"", **headers)


@contextlib.contextmanager
def serving(monkeypatch) -> Iterator[Server]:
    """A server for the length of the block, and a downloader that does not wait long between its tries."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(download, "WAITS", (0.01, 0.01))
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def a_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def a_tar(path, members):
    """`members`: content, or a dict of TarInfo's fields."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, dict):
                for key, value in content.items():
                    setattr(info, key, value)
                content = b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def an_archive(path, members):
    return (a_zip if path.suffix in (".zip", ".whl") else a_tar)(path, members)


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
