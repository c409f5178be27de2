"""The card: every number counted in a second way, and the page as a browser sees it."""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import browser
import numpy as np
import pytest
from sources import card_of, interleaved, prepare_source

from rawmm_cli.data import card
from rawmm_cli.data.images import ImageError
from rawmm_cli.data.items import DocumentItem, Item, Piece, Source
from rawmm_cli.pages import card as card_page

HOSTILE = [
    "<script>alert(1)</script>",
    "</figcaption><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }}{% raw %}",
    "a \u202e turned",
    "nul \0 and \x1b[31m",
    "x" * 3000,
    "wide " * 200,
    "日本語の説明 " * 30,
    "&lt;b&gt; &amp;",
    "https://example.invalid/x.png",
    "]]><!--",
    "\u0301" * 50,
]


def grain(content, background=None) -> np.ndarray:
    """Open an item: noise of a (number, height, width); for a string an ImageError."""
    if isinstance(content, str):
        raise ImageError(content)
    number, height, width = content
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def mixed(count: int = 120) -> Source:
    """Pictures of three sizes with hostile captions, two classes, two attributes, copies, and a few bad
    pictures."""

    def items(start):
        for n in range(start, count):
            number = n // 2 if n % 10 == 1 else 1000 + n  # every tenth is a copy, where n // 2 is even
            size = [(24, 16), (16, 16), (200, 120)][n % 3]
            content = f"it is <b>bad</b> {n}" if n % 40 == 7 else (number, *size)
            captions = () if n % 17 == 3 else (f"Number {n} of them", HOSTILE[n % len(HOSTILE)])[n % 2 :]
            yield Item(
                f"<i>{n}</i>.png",
                content,
                captions,
                n % 3 - 1,
                {"half": ["low", "high"][n > count // 2], "one": True},
                "held_out" if n % 4 == 0 else "train",
            )

    return Source(
        items=items,
        open=grain,
        count=count,
        state="mixed",
        card={
            "name": "mixed",
            "source": "<u>made</u>",
            "licence": "CC0",
            "terms": "Only <em>for</em> tests.\n",
            "url": "https://example.invalid/",
            "chosen": {"image": "a<b", "text": "c"},
            "labels": ["zero", "<one>"],
        },
    )


def tales(count: int = 30) -> Source:
    """Documents of hostile text and up to fourteen pictures."""

    def items(start):
        for n in range(start, count):
            pictures = [Piece(content=(100 * n + m, 16, 16 + 8 * m), draw=bool(m % 2)) for m in range(n % 15)]
            yield DocumentItem(
                f"tale {n}", (Piece(text=HOSTILE[n % len(HOSTILE)]), *pictures, Piece(text="the <end>"))
            )

    return Source(items=items, open=grain, state="tales", card={"name": "tales"}, holds_documents=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("cards")
    prepare_source(place / "mixed", mixed(), max_bad=0.2)
    prepare_source(place / "tales", tales())
    prepare_source(place / "words", interleaved(20), held_out=0.3)
    return place


def stored(folder: Path) -> list[dict]:
    """All rows, as the `datasets` library reads them, those for training first."""
    import datasets

    return [
        row | {"split": split}
        for split in ("train", "held_out")
        for row in datasets.load_from_disk(str(folder / split))
    ]


def test_every_number_of_pictures(folder):
    numbers, rows = card_of(folder / "mixed"), stored(folder / "mixed")
    assert (
        numbers["count"] == dict(Counter(row["split"] for row in rows))
        and numbers["pictures"] == len(rows) == 117
    )
    assert numbers["skipped_count"] == 3 and [entry["reason"] for entry in numbers["skipped"]] == [
        f"it is <b>bad</b> {n}" for n in (7, 47, 87)
    ]
    sizes = Counter((row["height"], row["width"]) for row in rows)
    assert {(h, w): count for h, w, count in numbers["sizes"]["frequent"]} == dict(sizes) and numbers[
        "size"
    ] is None
    assert (numbers["sizes"]["smallest"], numbers["sizes"]["largest"]) == ([16, 16], [200, 120])
    texts = [text for row in rows for text in row["captions"]]
    words = Counter(word for text in texts for word in re.findall(r"\w+", text.lower()))
    captions = numbers["captions"]
    assert (captions["count"], captions["different"], captions["vocabulary"], captions["words"]) == (
        len(texts),
        len(set(texts)),
        len(words),
        words.total(),
    )
    assert (
        all(words[word] == count for word, count in captions["frequent"])
        and len(captions["frequent"]) == card.TOP
    )
    assert sorted(count for _, count in captions["frequent"]) == sorted(words.values())[-card.TOP :]
    lengths = np.array([len(text.encode()) for text in texts])
    assert captions["bytes"] == {
        "min": lengths.min(),
        "median": int(np.median(lengths)),
        "p95": int(np.quantile(lengths, 0.95)),
        "max": lengths.max(),
    }
    assert numbers["without_caption"] == sum(not row["captions"] for row in rows) > 0
    names = {0: "zero", 1: "<one>"}
    assert numbers["label_counts"] == dict(Counter(names[row["label"]] for row in rows if row["label"] >= 0))
    attributes = [json.loads(row["attributes"]) for row in rows]
    assert numbers["attributes"] == {
        name: dict(Counter(str(row[name]) for row in attributes)) for name in ("half", "one")
    }


def test_exact_duplicates_counted_by_their_pixels(folder):
    duplicates, rows = card_of(folder / "mixed")["duplicates"]["exact"], stored(folder / "mixed")
    groups: dict[tuple, list] = {}
    for row in rows:
        groups.setdefault((row["height"], row["width"], row["pixels"]), []).append(row)
    same = [group for group in groups.values() if len(group) > 1]
    across = sum(len({row["split"] for row in group}) > 1 for group in same)
    assert (duplicates["groups"], duplicates["pictures"], duplicates["across_splits"]) == (
        len(same),
        sum(map(len, same)),
        across,
    )
    assert {tuple(sorted(group)) for group in duplicates["examples"]} == {
        tuple(sorted(row["source"] for row in group)) for group in same
    }


def test_every_number_of_documents(folder):
    numbers, rows = card_of(folder / "tales"), stored(folder / "tales")
    pictures = [size for row in rows for size in zip(row["heights"], row["widths"])]
    texts = [text for row in rows for text in row["texts"]]
    assert sum(numbers["count"].values()) == len(rows) == 30 and numbers["pictures"] == len(pictures)
    assert {(h, w): count for h, w, count in numbers["sizes"]["frequent"]} == dict(
        Counter(pictures).most_common(10)
    ) or numbers["sizes"]["different"] > 10
    assert numbers["sizes"]["different"] == len(set(pictures))
    assert numbers["captions"]["count"] == len(texts) and numbers["captions"]["different"] == len(set(texts))


# --------------------------------------------------------------------------------------------------- the page


class Outline(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.attributes, self.text = Counter(), [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.attributes += attributes

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("name", ["mixed", "tales", "words"])
def test_text_of_users_stays_text(folder, name):
    """It makes no tag, no attribute and no address, and has no control characters."""
    page = (folder / name / "card.html").read_text(encoding="utf-8")
    seen = Outline(page)
    assert not {"script", "u", "em", "base", "form", "iframe", "object", "link"} & set(seen.tags)
    assert not [key for key, _ in seen.attributes if key.startswith("on")]
    assert {key for key, _ in seen.attributes} <= {
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "src",
        "alt",
        "width",
        "height",
        "id",
        "style",
        "title",
    }
    assert all(value.startswith("data:image/") for key, value in seen.attributes if key == "src")
    assert all(re.fullmatch(r"width: [\d.]+%", value) for key, value in seen.attributes if key == "style")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", page) and len(page) < 3e6
    if name == "mixed":
        text = "".join(seen.text)
        for part in (
            "<script>alert(1)</script>",
            "{{ 7 * 7 }}{% raw %}",
            "<u>made</u>",
            "Only <em>for</em> tests.",
            "<one>",
            "it is <b>bad</b> 47",
            "a \ufffd turned",
        ):
            assert part in text


@pytest.mark.process
def test_the_same_set_gives_the_same_page(folder, tmp_path):
    prepare_source(tmp_path / "again", mixed(), max_bad=0.2, workers=2)
    assert (tmp_path / "again" / "card.html").read_bytes() == (folder / "mixed" / "card.html").read_bytes()


def test_the_numbers_of_the_page_are_those_of_the_card(folder):
    numbers = card_of(folder / "mixed")
    page = Outline((folder / "mixed" / "card.html").read_text(encoding="utf-8"))
    text = " ".join("".join(page.text).split())
    for part in (
        f"{numbers['count']['train']} training pictures",
        f"{numbers['count']['held_out']} held out",
        f"Training {min(numbers['count']['train'], card_page.WIDE[0])} of {numbers['count']['train']}",
        f"{numbers['captions']['count']} texts, {numbers['captions']['different']} different",
        "3 different, from 16 × 16 to 200 × 120",
        numbers["fingerprint"],
        "3 items",
        f"{numbers['without_caption']} pictures without a caption",
    ):
        assert part in text, part


def test_a_page_that_is_missing_is_written_again(folder):
    path = folder / "words" / "card.html"
    before = path.read_bytes()
    path.unlink()
    card_page.complete(folder / "words")
    assert path.read_bytes() == before
    path.write_text("mine")
    card_page.complete(folder / "words")
    assert path.read_text() == "mine"
    path.write_bytes(before)


def test_singular_and_plural():
    assert (
        card_page.counted(1, "picture") == "1 picture"
        and card_page.counted(2000, "picture") == "2,000 pictures"
    )


def test_large_pictures_keep_the_page_small(tmp_path):
    """Incompressible pictures at 256 px, as many as a page shows."""
    source = Source(
        items=lambda start: (Item(f"{n}", (n, 256, 256), ("x",)) for n in range(start, 120)),
        open=grain,
        state="",
        card={"name": "large"},
    )
    prepare_source(tmp_path / "large", source, held_out=0.3)
    assert (tmp_path / "large" / "card.html").stat().st_size < 3e6


@pytest.mark.browser
@pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on PATH")
@pytest.mark.parametrize("width", [1200, 400])
def test_in_a_browser(folder, width):
    """All pictures are shown, nothing is wider than the window or loaded from the network, and the console
    is empty."""
    names = ("mixed", "tales", "words")
    pages = browser.measured([folder / name / "card.html" for name in names], width)
    for name, page in zip(names, pages):
        assert browser.page_faults(page, width) == [], name
        assert len(page["pictures"]) >= 8


@pytest.mark.browser
@pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on PATH")
def test_the_browser_detects_broken_pages(folder, tmp_path):
    whole = (folder / "mixed" / "card.html").read_text(encoding="utf-8")
    broken = [
        whole.replace("</main>", end)
        for end in (
            "<script>alert(1)</script></main>",
            '<img src="https://example.invalid/x.png"></main>',
            '<div style="width: 3000px">x</div></main>',
            '<img src="data:image/png;base64,AAAA"></main>',
        )
    ]
    for number, page in enumerate(broken):
        (tmp_path / f"{number}.html").write_text(page, encoding="utf-8")
    for page in browser.measured([tmp_path / f"{number}.html" for number in range(len(broken))]):
        assert browser.page_faults(page) != []
