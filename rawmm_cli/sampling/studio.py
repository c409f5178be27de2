"""`rawmm studio`: a local page on which a model draws and reads, over Python's own web server.

    GET  /          the page, which is handed in and loads no other file
    GET  /model     what the model is, and its usual settings
    POST /draw      {"prompt", "steps", "guidance", "seed"} -> lines of JSON as it goes: {"outside", "why"},
                    {"text"}, {"step", "of", "picture"}, {"picture", "seconds"}; {"error"} where something is
                    wrong
    POST /caption   an image file -> lines of JSON: {"picture"}, {"outside", "why"}, {"text"}, {"seconds"}

Only this machine is served: the server listens on 127.0.0.1 and answers only to that name, so that no page of
another site can reach it through the browser. Requests run one at a time; one whose page was closed ends at
its next step. No page can keep the others waiting: a request must arrive within ARRIVAL seconds, and lines go
to the page from a thread of their own, which gives up where the page takes nothing for STALL seconds."""

import base64
import io
import json
import queue
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any
from urllib.parse import urlsplit

import torch
from PIL import Image
from torch import Tensor

from ..config import build
from ..core.document import Picture
from ..data import images
from ..runs.models import Loaded
from ..system.errors import ConfigError, RawmmError
from . import foreign, session
from .request import PICTURE, Request

LARGEST = 32 << 20  # bytes of a request
ARRIVAL, STALL = 5, 1  # seconds
STEPS, GUIDANCE = (1, 100), (0.0, 20.0)
POLICY = (  # the page's own is narrower and names its script by hash; only a header can forbid frames
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Studio:
    """A model behind the page. `draw` and `caption` call `say` with every line that the page receives."""

    def __init__(self, loaded: Loaded):
        self.loaded, self.usual, self.lock = loaded, build.sampling(loaded.config), threading.Lock()

    def about(self) -> dict:
        """The model and its usual settings."""
        return {
            "name": self.loaded.name,
            "hash": self.loaded.hash,
            "documents": self.loaded.documents,
            "parameters": sum(p.numel() for p in self.loaded.model.parameters()),
            "size": list(self.usual.size),
            "steps": self.usual.flat().get("steps"),  # None of a head that draws without steps
            "guidance": self.usual.guidance,
            "tuned": sorted(map(int, self.loaded.tuned)),
            "seen": foreign.summary(self.loaded),
        }

    def draw(self, body: dict, say: Callable[[dict], None]) -> None:
        """Continue the prompt as `rawmm sample PROMPT --seed SEED` does. Raises ConfigError where a setting
        is out of range."""
        text, seed = body.get("prompt", ""), _number(body, "seed", (0, 2**53), int, 0)
        if not isinstance(text, str):
            raise ConfigError("the prompt is not text")
        if PICTURE.search(text):  # files of this machine are not for pages to read
            raise ConfigError(
                "pictures in the prompt are for `rawmm sample`; drop a picture on the page to have it read"
            )
        settings, usual = {}, self.usual.flat()
        if "steps" in usual:
            settings["steps"] = _number(body, "steps", STEPS, int, usual["steps"])
        settings["guidance"] = _number(body, "guidance", GUIDANCE, float, self.usual.guidance)
        request, steps = Request((text,), seed=seed, settings=settings), settings.get("steps")

        def watch(step: int, noised: Tensor, clean: Tensor) -> None:
            say({"step": step + 1, "of": steps, "picture": _png(noised[0]), "foreseen": _png(clean[0])})

        self._run(request, say, watch)

    def caption(self, content: bytes, say: Callable[[dict], None]) -> None:
        """Read a picture, in the size that the model was trained on. Raises DataError where it is none."""
        pixels = images.fit(images.open_image(content), self.usual.size[0], "center", enlarge=True)
        picture = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        say({"picture": _png(picture)})
        self._run(Request(images=(picture,), task="caption"), say)

    def _run(self, request: Request, say: Callable[[dict], None], watch: session.Watch | None = None) -> None:
        """One request at a time; then the seconds that it took."""

        def report(_: int, item: str | Picture) -> None:
            if isinstance(item, Picture):
                say({"picture": _png(item.pixels), "seconds": round(time.perf_counter() - started, 2)})
            else:
                say({"text": item})

        with self.lock:
            started = time.perf_counter()
            ready = session.prepare(self.loaded, request)
            verdict = foreign.judge(self.loaded, request)
            say(verdict.to_json() | {"why": "; ".join(verdict.reasons())})
            ready.run(report, watch)
        say({"seconds": round(time.perf_counter() - started, 2)})


def _number(body: dict, name: str, limits: tuple, kind: type, usual: float) -> float:
    value = body.get(name, usual)
    if type(value) not in (int, kind) or not limits[0] <= value <= limits[1]:
        raise ConfigError(f"{name} = {value}; allowed: {limits[0]} to {limits[1]}")
    return kind(value)


def _png(pixels: torch.Tensor) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels.numpy().transpose(1, 2, 0)).save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


# ------------------------------------------------------------------------------------------------- the server


def server(studio: Studio, page: str, port: int) -> ThreadingHTTPServer:
    """A server of `page` on 127.0.0.1, not yet serving; port 0 is any free one. Raises ConfigError where the
    port is taken."""
    handler = type("Handler", (_Handler,), {"studio": studio, "page": page.encode()})
    try:
        return _Server(("127.0.0.1", port), handler)
    except OSError as error:
        raise ConfigError(
            f"port {port} cannot be used ({error.strerror}); choose another with --port, or 0 for any"
        ) from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore pages that were closed or stalled; anything else is a bug, and is printed."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Lines:
    """Lines of JSON to a page, sent by a thread of their own: whoever says one never waits for the page.

    Raises ConnectionError once the page is gone, or has taken nothing for STALL seconds."""

    def __init__(self, file: IO[bytes]):
        self.file, self.gone = file, False
        self.waiting: queue.SimpleQueue[dict | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._send, daemon=True)
        self.thread.start()

    def __call__(self, line: dict) -> None:
        if self.gone:
            raise ConnectionAbortedError("the page takes no more lines")
        self.waiting.put(line)

    def _send(self) -> None:
        while (line := self.waiting.get()) is not None:
            try:
                if not self.gone:
                    self.file.write((json.dumps(line) + "\n").encode())
            except OSError:  # a timeout among them
                self.gone = True

    def close(self) -> None:
        """Return when all lines are sent, or the page is gone."""
        self.waiting.put(None)
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    studio: Studio
    page: bytes
    server_version, sys_version = "rawmm", ""
    timeout = ARRIVAL

    def handle(self) -> None:
        """One request, of which all must have arrived in time: also one that comes byte by byte."""
        self.late = threading.Timer(ARRIVAL, self._end)
        self.late.daemon = True
        self.late.start()
        try:
            super().handle()
        finally:
            self.late.cancel()

    def _end(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        if not self._is_local():
            return
        if self.path == "/":
            return self._send(200, "text/html; charset=utf-8", self.page)
        if self.path == "/model":
            return self._send(200, "application/json", json.dumps(self.studio.about()).encode())
        self._send(404, "text/plain", b"there is nothing here; the page is at /\n")

    def do_POST(self) -> None:
        if not self._is_local():
            return
        work = {"/draw": self._draw, "/caption": self._caption}.get(self.path)
        length = self.headers.get("Content-Length", "")
        if work is None or not re.fullmatch("[0-9]{1,9}", length) or int(length) > LARGEST:
            status, reason = (404, "nothing") if work is None else (413, f"at most {LARGEST >> 20} MB")
            return self._send(status, "text/plain", f"refused: {reason}\n".encode())
        content = self.rfile.read(int(length))
        self.late.cancel()
        if len(content) < int(length):  # it came too late
            return
        self.connection.settimeout(STALL)
        self.send_response(200)
        self._headers("application/x-ndjson")
        self.end_headers()
        say = _Lines(self.wfile)
        try:
            work(content, say)
        except RawmmError as error:
            say({"error": str(error)})
        except ConnectionError:
            raise
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})
            raise
        finally:
            say.close()

    def _draw(self, content: bytes, say: _Lines) -> None:
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise ConfigError("the request is not a JSON object")
        self.studio.draw(body, say)

    def _caption(self, content: bytes, say: _Lines) -> None:
        self.studio.caption(content, say)

    def _is_local(self) -> bool:
        """Whether the request names this machine and comes from the studio's own page."""
        names = {f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in names and (origin is None or urlsplit(origin).netloc in names):
            return True
        self._send(403, "text/plain", b"refused: this page is for this machine alone\n")
        return False

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.connection.settimeout(STALL)
        self.send_response(status)
        self._headers(kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _headers(self, kind: str) -> None:
        for name, value in (
            ("Content-Type", kind),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)

    def log_message(self, *words: Any) -> None:
        """Requests are not logged."""
