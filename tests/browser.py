"""Open pages in headless Chromium, in frames of a chosen width, and measure what was drawn.

The frames' parent is a page of ours with a small script, which writes what it has measured into its own text; Chromium
prints that (--dump-dom), and what any script or policy complained about (--enable-logging).
"""

import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync --disable-background-networking
--disable-component-update --hide-scrollbars --allow-file-access-from-files --enable-logging=stderr --dump-dom""".split()
FRAME = """<iframe src="%s" onload="measure(this)" style="border:0;width:%dpx;height:900px"></iframe>"""
MEASURE = """<!doctype html><meta charset="utf-8"><body style="margin:0"><script>
const results = [];
function measure(frame) {
  const page = frame.contentDocument, view = frame.contentWindow;
  const lines = [...page.querySelectorAll("svg polyline")].map(line => {
    const box = line.getBoundingClientRect(), own = line.ownerSVGElement.getBoundingClientRect();
    return { kind: line.className.baseVal, width: box.width, height: box.height, length: line.getTotalLength(),
      stroke: view.getComputedStyle(line).stroke, share: box.width / own.width,
      inside: box.left >= own.left && box.right <= own.right && box.top >= own.top && box.bottom <= own.bottom };
  });
  const pictures = [...page.images].map(image => image.complete && image.naturalWidth * image.getBoundingClientRect().width);
  const svg = page.querySelector("svg"), texts = () => [...page.querySelectorAll("output")].map(one => one.textContent);
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
  if (results.length === document.querySelectorAll("iframe").length) document.body.textContent = JSON.stringify(results);
}
</script>"""


def measured(pages: list[Path], width: int = 1200) -> list[dict]:
    """What was drawn on each page: lines (boxes and lengths of all curves), pictures, texts before, while and after a curve
    is pointed at, the width of the page, and console: all that the browser complained about."""
    addresses = [page.resolve().as_uri() for page in pages]
    with tempfile.TemporaryDirectory() as folder:
        outer = Path(folder, "outer.html")
        outer.write_text(MEASURE + "".join(FRAME % (address, width) for address in addresses), encoding="utf-8")
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}/profile", "--window-size=1300,1000", outer.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    found = re.search(r"<body[^>]*>(\[.*\])</body>", done.stdout, re.DOTALL)
    assert found, f"Chromium measured nothing: {done.stdout[-500:]} {done.stderr[-2000:]}"
    results = {result["address"]: result for result in json.loads(html.unescape(found[1]))}
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert all(any(address in line for address in addresses) for line in console), console
    return [results[address] | {"console": [line for line in console if address in line]} for address in addresses]


def page_faults(found: dict, width: int = 1200) -> list[str]:
    """What is wrong with any page as it was drawn: [] where the browser is content and everything fits."""
    wrong = list(found["console"]) + [f"picture {n} is not shown" for n, area in enumerate(found["pictures"]) if not area]
    return wrong + ([f"the page is {found['width']} pixels wide, its window {width}"] if found["width"] > width else [])


def faults(found: dict, width: int = 1200) -> list[str]:
    """What is wrong with a report: the same, and every curve can be seen and read off."""
    wrong = page_faults(found, width)
    for n, line in enumerate(found["lines"]):
        if not (line["width"] > 50 and line["length"] > 50 and line["inside"] and line["stroke"] not in ("none", "")):
            wrong.append(f"curve {n} cannot be seen: {line}")
    if found["after"] != found["before"] or not found["still"] or found["lines"] and found["hover"] == found["before"]:
        wrong.append("the curves cannot be read off")
    return wrong if found["lines"] else [*wrong, "no curve"]
