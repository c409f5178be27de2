"""The shell of all pages: its policy allows what it contains, users' text is escaped, and writes are
atomic."""

import base64
import hashlib
import io
import os
import re

import jinja2
import numpy as np
import pytest
from PIL import Image

from rawmm_cli.pages import page
from rawmm_cli.system.errors import DiskFullError

NAMES = sorted(path.stem for path in page.HERE.glob("*.html") if path.stem not in ("page", "parts"))


def test_every_page_extends_the_shell():
    assert NAMES == ["card", "compare", "demo", "reconstruct", "report", "studio"]
    for name in NAMES:
        text = (page.HERE / f"{name}.html").read_text(encoding="utf-8")
        assert '{% extends "page.html" %}' in text and not re.search("<style|<script|<meta|<body", text), name


def test_the_policy_names_the_script_by_its_hash():
    text = page.render("studio")
    (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall('http-equiv="Content-Security-Policy"\\s+content="(.*?)">', text, re.DOTALL)
    assert " ".join(policy.split()) == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
    assert script == (page.HERE / "studio.js").read_text(encoding="utf-8") and "://" not in text


@pytest.fixture
def template(monkeypatch):
    """A page that shows `word`, without a script."""
    source = '{% extends "page.html" %}{% block main %}<p title="{{ word }}">{{ word }}</p>{% endblock %}'
    shell = page.environment().loader
    loader = jinja2.ChoiceLoader([jinja2.DictLoader({"mine.html": source}), shell])
    monkeypatch.setattr(page.environment(), "loader", loader)


def test_text_of_users_is_escaped(template):
    text = page.render("mine", word="\"><script>alert('1')</script>\ud800")
    assert "<script" not in text and "script-src" not in text and "&lt;script&gt;" in text
    assert text.encode() and "&lt;/script&gt;?" in text  # a lone surrogate cannot be written


def test_a_missing_variable_is_an_error(template):
    with pytest.raises(jinja2.UndefinedError, match="word"):
        page.render("mine")


def test_pictures_are_embedded():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    picture = page.picture(Image.fromarray(pixels))
    head, data = picture["uri"].split(",")
    file = io.BytesIO(base64.b64decode(data))
    assert (picture["width"], picture["height"], head) == (7, 5, "data:image/png;base64")
    assert np.array_equal(np.asarray(Image.open(file)), pixels)
    assert page.picture(Image.fromarray(pixels), "JPEG")["uri"].startswith("data:image/jpeg;base64,/9j/")


def test_on_a_full_disk_the_old_page_is_kept(tmp_path, monkeypatch):
    page.write(tmp_path / "a.html", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError):
        page.write(tmp_path / "a.html", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]
    assert (tmp_path / "a.html").read_text() == "old"
