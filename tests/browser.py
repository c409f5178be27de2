"""Pages in headless Chromium: measured in frames of a chosen width, or driven as a tab.

The parent of the frames is a page with a script that writes its measurements into its own text. Chromium
prints that (--dump-dom), and the complaints of scripts and policies (--enable-logging)."""

import base64
import fcntl
import html
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
--disable-background-networking
--disable-component-update --hide-scrollbars --allow-file-access-from-files --enable-logging=stderr
--dump-dom""".split()
FRAME = """<iframe src="%s" onload="measure(this)" style="border:0;width:%dpx;height:900px"></iframe>"""
MEASURE = """<!doctype html><meta charset="utf-8"><body style="margin:0"><script>
const results = [];
function measure(frame) {
  const page = frame.contentDocument, view = frame.contentWindow;
  const lines = [...page.querySelectorAll("svg polyline")].map(line => {
    const box = line.getBoundingClientRect(), own = line.ownerSVGElement.getBoundingClientRect();
    return { kind: line.className.baseVal, width: box.width, height: box.height,
      length: line.getTotalLength(),
      stroke: view.getComputedStyle(line).stroke, share: box.width / own.width,
      inside: box.left >= own.left && box.right <= own.right
        && box.top >= own.top && box.bottom <= own.bottom };
  });
  const pictures = [...page.images].map(image =>
    image.complete && image.naturalWidth * image.getBoundingClientRect().width);
  const svg = page.querySelector("svg");
  const texts = () => [...page.querySelectorAll("output")].map(one => one.textContent);
  const dots = () => [...page.querySelectorAll("svg circle")].map(dot => +dot.getAttribute("cx"));
  const before = texts(), still = dots();
  let hover = [];
  if (svg) {
    const box = svg.getBoundingClientRect();
    svg.dispatchEvent(new view.PointerEvent("pointermove", { clientX: box.left + box.width / 2 }));
    hover = texts();
    svg.dispatchEvent(new view.PointerEvent("pointerleave"));
  }
  results.push({ address: frame.src, lines, pictures, before, hover, after: texts(),
    still: `${still}` === `${dots()}`, width: page.documentElement.scrollWidth });
  if (results.length === document.querySelectorAll("iframe").length)
    document.body.textContent = JSON.stringify(results);
}
</script>"""


def measured(pages: list[Path], width: int = 1200) -> list[dict]:
    """Measurements of each page: lines (boxes and lengths of all curves), pictures, texts before, while and
    after the pointer is on a curve, the width of the page, and console: the browser's complaints."""
    addresses = [page.resolve().as_uri() for page in pages]
    with tempfile.TemporaryDirectory() as folder:
        outer = Path(folder, "outer.html")
        outer.write_text(
            MEASURE + "".join(FRAME % (address, width) for address in addresses), encoding="utf-8"
        )
        command = [
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={folder}/profile",
            "--window-size=1300,1000",
            outer.as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    body = re.search(r"<body[^>]*>(\[.*\])</body>", done.stdout, re.DOTALL)
    assert body, f"Chromium measured nothing: {done.stdout[-500:]} {done.stderr[-2000:]}"
    results = {result["address"]: result for result in json.loads(html.unescape(body[1]))}
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert all(any(address in line for address in addresses) for line in console), console
    return [
        results[address] | {"console": [line for line in console if address in line]} for address in addresses
    ]


def page_faults(page: dict, width: int = 1200) -> list[str]:
    """Faults of a measured page: complaints of the browser, missing pictures, too wide."""
    messages = list(page["console"])
    messages += [f"picture {n} is not shown" for n, area in enumerate(page["pictures"]) if not area]
    if page["width"] > width:
        messages.append(f"the page is {page['width']} pixels wide, its window {width}")
    return messages


def faults(page: dict, width: int = 1200) -> list[str]:
    """Faults of a measured report: those of any page, and curves that cannot be seen or do not follow the
    pointer."""
    messages = page_faults(page, width)
    for n, line in enumerate(page["lines"]):
        large, coloured = line["width"] > 50 and line["length"] > 50, line["stroke"] not in ("none", "")
        if not (large and line["inside"] and coloured):
            messages.append(f"curve {n} cannot be seen: {line}")
    follows = page["hover"] != page["before"] or not page["lines"]
    if page["after"] != page["before"] or not page["still"] or not follows:
        messages.append("the curves do not show values under the pointer")
    return messages if page["lines"] else [*messages, "no curve"]


class Tab:
    """A page in headless Chromium, driven through its debugging pipe by the DevTools protocol.

    console: complaints of the browser. requests: addresses that the page requested."""

    def __init__(self, address: str, width: int = 1100, height: int = 1000, dark: bool = False):
        # Chromium's processes may still write when the folder is removed
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        ours, theirs = os.pipe(), os.pipe()  # the browser reads commands from 3 and writes answers to 4
        flags = [flag for flag in FLAGS if flag not in ("--dump-dom", "--enable-logging=stderr")]

        def prepare():
            reads, writes = (fcntl.fcntl(one, fcntl.F_DUPFD, 100) for one in (ours[0], theirs[1]))
            os.dup2(reads, 3)
            os.dup2(writes, 4)

        self.process = subprocess.Popen(
            [
                CHROMIUM,
                *flags,
                "--remote-debugging-pipe",
                f"--user-data-dir={self.folder.name}",
                f"--window-size={width},{height}",
                "about:blank",
            ],
            preexec_fn=prepare,
            pass_fds=(3, 4),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self.commands, self.answers = os.fdopen(ours[1], "wb", 0), os.fdopen(theirs[0], "rb")
        self.number, self.session, self.console, self.requests = 0, None, [], []
        target = next(t for t in self._do("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self._do("Target.attachToTarget", targetId=target["targetId"], flatten=True)[
            "sessionId"
        ]
        for domain in ("Runtime", "Log", "Network", "Page", "DOM"):
            self._do(f"{domain}.enable")
        if dark:
            self._do(
                "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}]
            )
        self._do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self._do("Page.navigate", url=address)

    def _do(self, method: str, **parameters) -> dict:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        self.commands.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._line())
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self._event(answer)

    def _line(self) -> bytes:
        line = bytearray()
        while (byte := self.answers.read(1)) not in (b"\0", b""):
            line += byte
        assert line, "Chromium has gone"
        return bytes(line)

    def _event(self, event: dict) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if (
            method == "Runtime.exceptionThrown"
            or method == "Log.entryAdded"
            or (method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"))
        ):
            self.console.append(json.dumps(parameters)[:400])
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def run(self, script: str):
        """Value of an expression on the page; promises are awaited."""
        result = self._do("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, script: str, seconds: float = 60):
        """Wait until the expression is true on the page -> its value."""
        end = time.monotonic() + seconds
        while not (value := self.run(f"(() => {{ try {{ return {script} }} catch {{ return false }} }})()")):
            assert time.monotonic() < end, f"waited in vain for {script}; the page complains: {self.console}"
            time.sleep(0.05)
        return value

    def type(self, selector: str, text: str) -> None:
        """Replace the text of a field, as by a keyboard."""
        self.run(f"document.querySelector({json.dumps(selector)}).select()")
        self._do("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click the middle of an element with the left mouse button."""
        box = self.run(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); one.scrollIntoView();"
            " const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / "
            "2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._do("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def drop(self, selector: str, path: Path) -> None:
        """Drop a file on an element."""
        self.run(f"""(() => {{
          const dataTransfer = new DataTransfer(), bytes = new Uint8Array({list(path.read_bytes())});
          dataTransfer.items.add(new File([bytes], "a.png"));
          const event = new DragEvent("drop", {{ dataTransfer, bubbles: true, cancelable: true }});
          document.querySelector({json.dumps(selector)}).dispatchEvent(event);
        }})()""")

    def choose(self, selector: str, path: Path) -> None:
        """Choose a file in an <input type=file>."""
        root = self._do("DOM.getDocument")["root"]["nodeId"]
        node = self._do("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._do("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def photograph(self, path: Path) -> None:
        """Write a PNG of the window."""
        path.write_bytes(base64.b64decode(self._do("Page.captureScreenshot")["data"]))

    def __enter__(self) -> "Tab":
        return self

    def __exit__(self, *error) -> None:
        self.process.kill()
        self.process.wait()
        self.commands.close()
        self.answers.close()
        self.folder.cleanup()
