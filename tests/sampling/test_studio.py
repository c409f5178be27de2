"""The local page: what it draws is what the command draws, nobody else can reach it, and a real browser is
content with it."""

import base64
import contextlib
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import CHROMIUM, Tab
from PIL import Image

from rawmm_cli.core import generate
from rawmm_cli.pages import page
from rawmm_cli.runs import models
from rawmm_cli.sampling import studio
from rawmm_cli.system.errors import ConfigError


@pytest.fixture(scope="module")
def served(tiny_run):
    """A running server of the tiny run."""
    loaded = models.load(tiny_run, torch.device("cpu"))
    with studio.server(studio.Studio(loaded), page.render("studio"), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, method, path, body=None, **headers):
    """-> (status, headers, content)"""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def answers(server, path, body):
    status, _, content = ask(server, "POST", path, body)
    assert status == 200
    return [json.loads(line) for line in content.decode().splitlines()]


def picture(address) -> np.ndarray:
    assert address.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def png(shape=(8, 8, 3)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------- the server


def test_it_draws_what_the_command_draws(served, rawmm, tiny_run, tmp_path):
    lines = answers(served, "/draw", json.dumps({"prompt": "seven", "steps": 4, "guidance": 3, "seed": 11}))
    steps = [line for line in lines if "step" in line]
    assert [(line["step"], line["of"]) for line in steps] == [(n, 4) for n in (1, 2, 3, 4)]
    final = next(line for line in lines if "picture" in line and "step" not in line)
    _code, out, _ = rawmm(
        "sample",
        "seven",
        "--run",
        tiny_run,
        "--steps",
        "4",
        "--guidance",
        "3",
        "--seed",
        "11",
        "--json",
        "--out",
        tmp_path,
    )
    file = next(item["image"] for item in json.loads(out)["items"] if "image" in item)
    assert np.array_equal(picture(final["picture"]), np.asarray(Image.open(file)))
    assert not np.array_equal(picture(steps[0]["picture"]), picture(final["picture"]))
    assert np.array_equal(picture(steps[-1]["foreseen"]), picture(final["picture"]))
    assert lines[-1].keys() == {"seconds"}


def test_it_reads_what_the_command_reads(served, rawmm, tiny_run, tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    lines = answers(served, "/caption", png())
    _code, out, _ = rawmm(
        "sample", "--image", tmp_path / "a.png", "--task", "caption", "--run", tiny_run, "--json"
    )
    texts = [line["text"] for line in lines if "text" in line]
    assert "".join(item["text"] for item in json.loads(out)["items"]) == (texts[-1] if texts else "")
    assert picture(lines[0]["picture"]).shape == (8, 8, 3)


def test_pictures_of_any_size_are_made_to_fit(served):
    for shape in ((3, 3, 3), (20, 31), (64, 9, 4)):
        assert picture(answers(served, "/caption", png(shape))[0]["picture"]).shape == (8, 8, 3)


@pytest.mark.parametrize(
    "body, message",
    [
        (b"{", "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b'{"steps": 0}', "steps = 0; allowed: 1 to 100"),
        (b'{"steps": 4.5}', "steps = 4.5"),
        (b'{"steps": true}', "steps = True"),
        (b'{"guidance": NaN}', "guidance = nan"),
        (b'{"seed": -1}', "seed = -1"),
        (b'{"prompt": 3}', "not text"),
        (b'{"prompt": "a\\u0007"}', "control character"),
        (b'{"prompt": "{image:/etc/passwd}"}', "are for `rawmm sample`"),
        (json.dumps({"prompt": "x" * 5000}).encode(), "need 5,001 positions"),
        (b"\xff\xfe", "not a JSON object"),
    ],
)
def test_bad_requests_get_one_line(served, body, message):
    lines = answers(served, "/draw", body)
    assert len(lines) == 1 and message in lines[0]["error"]


def test_what_is_no_picture(served):
    for body in (b"", b"no picture", png()[:50]):
        lines = answers(served, "/caption", body)
        assert len(lines) == 1 and "error" in lines[0]


def test_it_listens_to_this_machine_alone(served):
    assert served.server_address[0] == "127.0.0.1"
    port = served.server_port
    for headers in (
        {"Host": "evil.example"},
        {"Host": f"evil.example:{port}"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": f"127.0.0.1:{port + 1}"},
    ):
        for method, path in (("GET", "/"), ("GET", "/model"), ("POST", "/draw"), ("POST", "/caption")):
            assert ask(served, method, path, b"{}" if method == "POST" else None, **headers)[0] == 403
    assert ask(served, "GET", "/", Host=f"localhost:{port}", Origin=f"http://localhost:{port}")[0] == 200


def test_there_is_nothing_else(served):
    for path in ("/../etc/passwd", "/studio.html", "/draw"):
        assert ask(served, "GET", path)[0] == 404
    assert ask(served, "POST", "/", b"")[0] == 404
    connection = http.client.HTTPConnection("127.0.0.1", served.server_port)
    connection.putrequest("POST", "/caption")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    _status, headers, _ = ask(served, "GET", "/")
    assert (
        "default-src 'none'" in headers["Content-Security-Policy"]
        and headers["X-Content-Type-Options"] == "nosniff"
    )


def test_a_page_that_is_closed_ends_its_drawing(served, monkeypatch):
    """The next one need not wait for all of its steps."""
    body = json.dumps({"prompt": "seven", "steps": 100, "seed": 0}).encode()
    slow = studio._png
    monkeypatch.setattr(studio, "_png", lambda pixels: time.sleep(0.1) or slow(pixels))
    with socket.create_connection(("127.0.0.1", served.server_port)) as line:
        host = f"127.0.0.1:{served.server_port}"
        head = f"POST /draw HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
        line.sendall(head.encode() + body)
        line.recv(1000)
    monkeypatch.setattr(studio, "_png", slow)
    started = time.monotonic()
    assert answers(served, "/draw", b'{"prompt": "two", "steps": 1}')[-1].keys() == {"seconds"}
    assert time.monotonic() - started < 5


def post(served, path, body):
    """A request whose page reads nothing -> its connection. Its buffer is small, so that it soon is full."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    line.connect(("127.0.0.1", served.server_port))
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.server_port}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    line.sendall(head.encode() + body)
    return line


def served_in_time(served, seconds=2.0):
    started = time.monotonic()
    assert ask(served, "GET", "/")[0] == 200
    assert answers(served, "/draw", b'{"prompt": "two", "steps": 1}')[-1].keys() == {"seconds"}
    assert time.monotonic() - started < seconds


def threads_end(before, seconds):
    until = time.monotonic() + seconds
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_a_page_that_stops_reading_keeps_nobody_waiting(served, monkeypatch, capfd):
    real, before = studio._png, threading.active_count()
    monkeypatch.setattr(studio, "_png", lambda pixels: real(pixels) + "=" * 1_000_000)
    lines = [post(served, "/draw", b'{"prompt": "seven", "steps": 100}') for _ in range(3)]
    time.sleep(0.3)
    monkeypatch.setattr(studio, "_png", real)
    served_in_time(served)
    threads_end(before, 4 * studio.STALL)
    for line in lines:
        line.close()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "begin, more",
    [
        (b"", b""),
        (b"POST /draw HT", b""),
        (b"GET / HTTP/1.1\r\n", b"A: b\r\n"),
        (b"POST /draw HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1000\r\n\r\n{", b" "),
    ],
    ids=["silent", "half a line", "endless headers", "endless body"],
)
def test_requests_that_never_end_keep_no_threads(served, monkeypatch, begin, more):
    """Silent ones, and those that come byte by byte; others are served meanwhile."""
    monkeypatch.setattr(studio, "ARRIVAL", 1)
    monkeypatch.setattr(served.RequestHandlerClass, "timeout", 1)
    before, host = threading.active_count(), f"127.0.0.1:{served.server_port}"
    lines = [socket.create_connection(("127.0.0.1", served.server_port)) for _ in range(20)]
    for line in lines:
        line.sendall(begin.replace(b"HOST", host.encode()))
    served_in_time(served)
    until = time.monotonic() + 3
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.1)
        for line in lines:
            with contextlib.suppress(OSError):
                line.sendall(more)
    assert threading.active_count() <= before
    for line in lines:
        line.close()


@pytest.mark.parametrize("length", ["\u00b2", "-1", "1_0", "9" * 30, "", "1 2"])
def test_lengths_that_are_no_number(served, length):
    assert ask(served, "POST", "/caption", b"", **{"Content-Length": length})[0] in (400, 413)


def test_a_bug_is_told_and_shown(served, monkeypatch, capfd):
    monkeypatch.setattr(generate, "generate", lambda *_: 1 / 0)
    assert "ZeroDivisionError" in answers(served, "/draw", b'{"prompt": "two"}')[-1]["error"]
    assert "Traceback" in capfd.readouterr().err


def test_a_port_that_is_taken(served):
    with pytest.raises(ConfigError, match="cannot be used"):
        studio.server(served.RequestHandlerClass.studio, "", served.server_port)


@pytest.mark.process
def test_the_command_serves_and_ends_with_ctrl_c(tiny_run):
    words = ["studio", "--run", str(tiny_run), "--port", "0", "--no-browser", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "rawmm_cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    address = json.loads(process.stdout.readline())["url"]
    connection = http.client.HTTPConnection(address.removeprefix("http://").rstrip("/"), timeout=30)
    connection.request("GET", "/model")
    assert json.loads(connection.getresponse().read())["size"] == [8, 8]
    process.send_signal(2)
    _out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and "Traceback" not in err


@pytest.fixture(scope="module")
def package():
    """A running server of the model inside the package."""
    loaded = models.load(models.find(Path("none"), None, "portraits"), torch.device("cpu"))
    with studio.server(studio.Studio(loaded), page.render("studio"), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_it_says_what_the_model_has_seen_and_what_is_outside(package, served):
    about = json.loads(ask(package, "GET", "/model")[2])["seen"]
    assert [one["name"] for one in about["sets"]] == ["portraits64", "portraits96", "portraits48"]
    assert "a portrait of" in about["prompts"] and about["measured"] == {"words": True, "pictures": True}
    assert "subspace" not in json.dumps(about)
    for prompt, outside in (("a portrait of", False), ("a red bicycle", True)):
        lines = answers(package, "/draw", json.dumps({"prompt": prompt, "steps": 1}))
        assert lines[0]["outside"] is outside and ("'bicycle' (" in lines[0]["why"]) is outside
    lines = answers(package, "/caption", png((64, 64, 3)))
    assert "picture" in lines[0] and lines[1]["outside"] and "the picture (distance" in lines[1]["why"]
    assert json.loads(ask(served, "GET", "/model")[2])["seen"]["prompts"][7] == "seven"


# ------------------------------------------------------------------------------------------------ the browser


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1300, 420])
def test_prompts_are_offered_and_foreign_ones_have_a_badge(package, tmp_path, width):
    (tmp_path / "a.png").write_bytes(png((64, 64, 3)))
    with Tab(f"http://127.0.0.1:{package.server_port}/", width) as tab:
        tab.until('document.documentElement.dataset.ready === "yes"')
        assert tab.run('document.getElementById("prompt").value') == "a portrait of"
        chips = tab.run('[...document.querySelectorAll("#chips button")].map(one => one.textContent)')
        assert len(chips) >= 6 and chips[0] == "a portrait of"
        tab.run('document.querySelector("#chips button:nth-child(2)").click()')
        tab.until('document.querySelectorAll("#history img").length === 1')
        assert tab.run('document.getElementById("prompt").value') == chips[1]
        assert tab.run('document.getElementById("foreign").hidden')
        tab.type("#prompt", "a red bicycle")
        tab.run('document.getElementById("ask").requestSubmit()')
        tab.until('document.querySelectorAll("#history img").length === 2')
        text = tab.run('document.getElementById("foreign").innerText')
        assert (
            text.startswith("outside") and "'bicycle'" in text and text.endswith("The drawing means little.")
        )
        tab.choose("#file", tmp_path / "a.png")
        tab.until('document.getElementById("read").style.width === "100%"')
        assert "The caption means little" in tab.run('document.getElementById("read-foreign").innerText')
        tab.run('document.querySelector("#history button:last-child").click()')
        assert tab.run('document.getElementById("foreign").hidden'), "the first drawing was inside"
        tab.run('document.getElementById("seen").open = true')
        assert "50,000 pictures" in tab.run('document.getElementById("seen").innerText')
        assert tab.run("document.documentElement.scrollWidth") <= width and tab.console == []


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width, dark", [(1100, False), (390, True)])
def test_in_a_real_browser(served, tmp_path, width, dark):
    """Type, draw, see the picture, read one, go back to the first; no complaint, no foreign request, nothing
    too wide."""
    (tmp_path / "a.png").write_bytes(png())
    with Tab(f"http://127.0.0.1:{served.server_port}/", width, dark=dark) as tab:
        tab.until('document.documentElement.dataset.ready === "yes"')
        assert tab.run('document.getElementById("steps").value') == "10" and "tiny" in tab.run(
            "document.body.innerText"
        )
        tab.run("""window.seen = [];
            new MutationObserver(all => all.forEach(one => one.addedNodes.forEach(node =>
            seen.push(node.textContent)))).observe(document.getElementById("spent"), { childList: true })""")
        tab.type("#prompt", "seven")
        tab.click("#go")
        tab.until('document.querySelectorAll("#history img").length === 1')
        assert {f"step {n} of 10" for n in range(1, 11)} <= set(tab.run("seen"))
        assert tab.run('document.querySelector("#drawn img").naturalWidth') == 8
        first = tab.run('document.querySelector("#drawn img").src')
        tab.type("#seed", "5")
        tab.click("#go")
        tab.until('document.querySelectorAll("#history img").length === 2')
        assert tab.run('document.querySelector("#drawn img").src') != first
        tab.choose("#file", tmp_path / "a.png")
        tab.until('document.getElementById("read").style.width === "100%"')
        assert tab.run('document.querySelector("#drop img").naturalWidth') == 8
        tab.run('document.getElementById("read").style.width = "0"')
        tab.drop("#drop", tmp_path / "a.png")
        tab.until('document.getElementById("read").style.width === "100%"')
        tab.run('document.querySelector("#history button:last-child").click()')
        assert tab.run('document.querySelector("#drawn img").src') == first
        assert tab.run('document.getElementById("seed").value') == "0"
        tab.type("#prompt", "x" * 5000)
        tab.click("#go")
        tab.until('document.getElementById("written").className.includes("bad")')
        assert "need 5,001 positions" in tab.run('document.getElementById("written").textContent')
        assert tab.run('document.getElementById("spent").textContent') == ""
        assert tab.run("document.documentElement.scrollWidth") <= width
        assert tab.console == []
        assert all(
            url.startswith((f"http://127.0.0.1:{served.server_port}/", "data:")) for url in tab.requests
        )
        tab.photograph(tmp_path / "page.png")
