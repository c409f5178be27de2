"""`rawmm studio`: a local page on which a model draws and reads, over Python's own web server.

    GET  /          the page, whole: no other file is asked for
    GET  /model     what the model is, and its usual settings
    POST /draw      {"prompt", "steps", "guidance", "seed"} -> lines of JSON as it goes: {"text"}, {"step",
                    "of", "picture"}, {"picture", "seconds"}; {"error"} where something is wrong
    POST /caption   an image file -> lines of JSON: {"text"}, {"seconds"}

Only this machine can ask: the server listens on 127.0.0.1, and answers only to that name, so that no page of
another site can reach it through the browser. One request is worked on at a time; one whose page was closed
ends at its next step."""

import base64
import io
import json
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import torch
from PIL import Image

from ..config import build
from ..core.document import Picture
from ..core.generate import generate
from ..core.text_tokenizer import BOS, END_IMAGE, IMAGE
from ..data import images
from ..runs.models import Loaded, tuned
from ..system.errors import ConfigError, RawmmError
from ..system.seeds import key
from . import prompt

PAGE = Path(__file__).with_name("studio.html")
LARGEST = 32 << 20  # bytes of a request
STEPS, GUIDANCE = (1, 100), (0.0, 20.0)
POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Studio:
    """A model behind the page. `draw` and `caption` call `say` with everything that the page shall know."""

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
            "steps": self.usual.steps,
            "guidance": self.usual.guidance,
            "tuned": sorted(map(int, self.loaded.tuned)),
        }

    def draw(self, asked: dict, say) -> None:
        """Continue the prompt as `rawmm sample PROMPT --seed SEED` does. Raises ConfigError where a setting
        is out of range."""
        text, seed = asked.get("prompt", ""), _number(asked, "seed", (0, 2**53), int, 0)
        if not isinstance(text, str):
            raise ConfigError("the prompt is not text")
        if prompt.PICTURE.search(text):  # files of this machine are not for pages to read
            raise ConfigError(
                "pictures in the prompt are for `rawmm sample`; drop a picture on the page to have it read"
            )
        steps = _number(asked, "steps", STEPS, int, self.usual.steps)
        guidance = _number(asked, "guidance", GUIDANCE, float, self.usual.guidance)
        settings = tuned(
            self.loaded, replace(self.usual, steps=steps, guidance=guidance, temperature=1.0), {"guidance"}
        )
        with self.lock:
            started, model = time.perf_counter(), self.loaded.model
            document = prompt.document(model, text, [], settings.context)

            def told(_, item):
                if isinstance(item, Picture):
                    words.clear()
                    say({"picture": _png(item.pixels), "seconds": round(time.perf_counter() - started, 2)})
                else:
                    _spell(model.tokenizer, words, item, say)

            words: list[int] = []
            generate(
                model,
                [document],
                [key(seed, "sample", 0)],
                settings,
                told,
                lambda step, noised, clean: say(
                    {
                        "step": step + 1,
                        "of": settings.steps,
                        "picture": _png(noised[0]),
                        "foreseen": _png(clean[0]),
                    }
                ),
            )
        say({"seconds": round(time.perf_counter() - started, 2)})

    def caption(self, content: bytes, say) -> None:
        """Read a picture, made as large as the model learned them. Raises DataError where it is none."""
        pixels = images.fit(images.open_image(content), self.usual.size[0], enlarge=True)
        picture = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        say({"picture": _png(picture)})
        with self.lock:
            started, words = time.perf_counter(), []
            document = [BOS, IMAGE, Picture(picture, False), END_IMAGE]
            settings = replace(self.usual, temperature=0.0, max_pictures=0)
            generate(
                self.loaded.model,
                [document],
                [0],
                settings,
                lambda _, token: _spell(self.loaded.model.tokenizer, words, token, say),
            )
        say({"seconds": round(time.perf_counter() - started, 2)})


def _number(asked: dict, name: str, limits: tuple, kind: type, usual):
    value = asked.get(name, usual)
    if type(value) not in (int, kind) or not limits[0] <= value <= limits[1]:
        raise ConfigError(f"{name} = {value}; allowed: {limits[0]} to {limits[1]}")
    return kind(value)


def _spell(tokenizer, words: list[int], token: int, say) -> None:
    """The text so far, when its last character is whole."""
    words.append(token)
    text = tokenizer.decode(words)
    if text and not text.endswith("\ufffd"):
        say({"text": text})


def _png(pixels: torch.Tensor) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels.numpy().transpose(1, 2, 0)).save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


# ------------------------------------------------------------------------------------------------- the server


def server(studio: Studio, port: int) -> ThreadingHTTPServer:
    """A server on 127.0.0.1, not yet serving; port 0 is any free one. Raises ConfigError where the port is
    taken."""
    handler = type("Handler", (_Handler,), {"studio": studio})
    try:
        return _Server(("127.0.0.1", port), handler)
    except OSError as error:
        raise ConfigError(
            f"port {port} cannot be used ({error.strerror}); choose another with --port, or 0 for any"
        ) from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address) -> None:
        """A page that was closed is no error; anything else is a bug, and is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    studio: Studio
    server_version, sys_version = "rawmm", ""

    def do_GET(self) -> None:
        if not self._ours():
            return
        if self.path == "/":
            return self._send(200, "text/html; charset=utf-8", PAGE.read_bytes())
        if self.path == "/model":
            return self._send(200, "application/json", json.dumps(self.studio.about()).encode())
        self._send(404, "text/plain", b"there is nothing here; the page is at /\n")

    def do_POST(self) -> None:
        if not self._ours():
            return
        work = {"/draw": self._draw, "/caption": self._caption}.get(self.path)
        length = self.headers.get("Content-Length", "")
        if work is None or not length.isdigit() or int(length) > LARGEST:
            status, reason = (404, "nothing") if work is None else (413, f"at most {LARGEST >> 20} MB")
            return self._send(status, "text/plain", f"refused: {reason}\n".encode())
        content = self.rfile.read(int(length))
        self.send_response(200)
        self._headers("application/x-ndjson")
        self.end_headers()
        try:
            work(content)
        except RawmmError as error:
            self._say({"error": str(error)})
        except ConnectionError:
            raise
        except Exception as error:
            self._say({"error": f"{type(error).__name__}: {error}"})
            raise

    def _draw(self, content: bytes) -> None:
        try:
            asked = json.loads(content)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            raise ConfigError("the request is not a JSON object")
        self.studio.draw(asked, self._say)

    def _caption(self, content: bytes) -> None:
        self.studio.caption(content, self._say)

    def _say(self, line: dict) -> None:
        self.wfile.write((json.dumps(line) + "\n").encode())
        self.wfile.flush()

    def _ours(self) -> bool:
        """Asked by this machine's own name, and by no page but ours."""
        names = {f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in names and (origin is None or urlsplit(origin).netloc in names):
            return True
        self._send(403, "text/plain", b"refused: this page is for this machine alone\n")
        return False

    def _send(self, status: int, kind: str, content: bytes) -> None:
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

    def log_message(self, *words) -> None:
        """Requests are no news."""
