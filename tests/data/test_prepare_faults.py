"""Real data, through the command line: odd captions, hostile names, bombs, strange paths, read-only
folders."""

import json
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rawmm_cli.config.data import Data
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, Bytes, train_pairs
from rawmm_cli.data import prepared
from rawmm_cli.data.images import open_image
from rawmm_cli.data.stream import Stream


def picture(path: Path, number: int = 0, side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(
        path, "PNG"
    )
    return path


def captioned(folder: Path, captions: list[str]) -> Path:
    for number, caption in enumerate(captions):
        path = picture(folder / f"{number:03d}.png", number)
        path.with_suffix(".txt").write_bytes(caption.encode())
    return folder


def all_captions(folder: Path) -> dict[str, list[str]]:
    """{source: captions} of both splits."""
    captions = {}
    for split in prepared.SPLITS:
        data = prepared.load(folder, split)
        captions |= {data.source(row): data.captions[row] for row in range(len(data))}
    return captions


ODD = [
    "",
    "   \n",
    "x" * 100_000,
    "family \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u202eright to left\u202c",
    "nul \0 inside",
    "<image>",
    "</image><eos><bos>",
    "a\r\nb",
    "\ufeffmarked",
    "é combining e\u0301",
    "[bold]markup[/bold] [/x]",
    "<script>alert(1)</script>",
    "$(touch marker) %s {0} {label}",
]


def test_odd_captions_come_back_or_are_reported(rawmm, tmp_path, monkeypatch):
    """Fault 18. Every line is a caption, without the spaces around it."""
    monkeypatch.chdir(tmp_path)
    code, _, err = rawmm(
        "prepare",
        "folder",
        "--path",
        captioned(tmp_path / "in", ODD),
        "--name",
        "odd",
        "--workers",
        0,
        "--held-out",
        0.3,
    )
    assert code == 0 and "pictures without a caption: 2; they are drawn, not read" in err
    stored = all_captions(tmp_path / "data" / "odd")
    for number, caption in enumerate(ODD):
        lines = [line.strip() for line in caption.removeprefix("\ufeff").split("\r\n")]
        assert stored[f"{number:03d}.png"] == [line for line in lines if line]
    page = (tmp_path / "data" / "odd" / "card.html").read_text()
    assert "<script>alert(1)" not in page and "&lt;script&gt;" in page and not (tmp_path / "marker").exists()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", err)


def test_captions_that_are_not_unicode_are_reported(rawmm, tmp_path):
    folder = captioned(tmp_path / "in", ["fine"] * 30)
    (folder / "003.txt").write_bytes(b"caf\xe9")
    code, _, err = rawmm(
        "prepare", "folder", "--path", folder, "--data-dir", tmp_path, "--name", "x", "--workers", 0
    )
    assert (code == 3 or "left out 003" in err) and "003" in err and "UTF-8" in err


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_no_caption_becomes_a_special_token(kind, tmp_path, rawmm):
    """Fault 18: the names of special tokens are plain text in a caption, and every text comes back from its
    tokens."""
    texts = [text for text in ODD if text.strip()]
    tokenizer = (
        Bytes()
        if kind == "bytes"
        else train_pairs([*texts, *"<bos> <eos> <image> </image>".split()] * 50, 400)
    )
    for text in (*texts, "<bos>", "<image></image>", "</image>"):
        tokens = tokenizer.encode(text)
        assert not set(tokens) & {BOS, EOS, IMAGE, END_IMAGE} and tokenizer.decode(tokens) == text
    code, _, _ = rawmm(
        "prepare",
        "folder",
        "--path",
        captioned(tmp_path / "in", ["<image>"] * 10),
        "--data-dir",
        tmp_path,
        "--name",
        "forged",
        "--workers",
        0,
    )
    data = prepared.load(tmp_path / "forged", "train")
    stream = Stream([data], 0, Data(drop=0.0), encode=tokenizer.encode)
    assert code == 0
    assert all(
        sum(item == IMAGE for item in stream.document(n) if isinstance(item, int)) == 1 for n in range(20)
    )


def bomb(path: Path, side: int = 20_000) -> Path:
    """A whole, black, 1-bit PNG of side x side pixels in about 50 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = bytes(1 + side // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.process
def test_bombs_are_skipped_at_once(rawmm, tmp_path):
    """Fault 7: refused by their header, without memory for their pixels; 144 megapixels too. Of an
    animation only one frame is read."""
    folder = captioned(tmp_path / "in", ["fine"] * 60)
    bomb(folder / "bomb.png")
    bomb(folder / "large.png", 12_000)
    frames = [Image.fromarray(np.full((8, 8), n % 256, np.uint8)) for n in range(3000)]
    frames[0].save(folder / "long.gif", save_all=True, append_images=frames[1:])
    assert (folder / "bomb.png").stat().st_size < 100_000
    started = time.process_time()
    code, out, _ = rawmm(
        "prepare", "folder", "--path", folder, "--data-dir", tmp_path, "--name", "x", "--workers", 0, "--json"
    )
    assert code == 0 and time.process_time() - started < 5
    assert json.loads(out)["skipped"] == [
        {"file": name, "reason": "it has more than 64 megapixels; make it smaller"}
        for name in ("bomb.png", "large.png")
    ]
    program = (
        "import sys; from resource import *; from rawmm_cli.data.images import read_image, ImageError\n"
        "before = getrusage(RUSAGE_SELF).ru_maxrss\n"
        "try: read_image(sys.argv[1])\nexcept ImageError: print(getrusage(RUSAGE_SELF).ru_maxrss - before)"
    )
    grown = subprocess.run(
        [sys.executable, "-c", program, str(folder / "bomb.png")], capture_output=True, text=True, check=True
    )
    assert int(grown.stdout) < 50_000  # kilobytes


def test_a_png_with_many_text_chunks(tmp_path):
    """A hundred compressed texts of a megabyte each are not decompressed in vain."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    whole = picture(tmp_path / "a.png").read_bytes()
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 20)))
    (tmp_path / "b.png").write_bytes(whole[:33] + text * 100 + whole[33:])
    started = time.process_time()
    try:
        assert open_image(tmp_path / "b.png").size == (8, 8)
    except Exception as error:
        assert "Decompressed data too large" in str(error) or "memory" in str(error)
    assert time.process_time() - started < 2


NAMES = [
    "[red] [bold].png",
    "\x1b[31mred\x1b]0;title\x07.png",
    "$(touch marker).png",
    "%s{0}.png",
    "-x.png",
    "new\nline.png",
    "quote'\".png",
    "\u202egnp.txt.png",
    "<script>.png",
    "é \U0001f642.png",
    "a" * 200 + ".png",
]


def test_hostile_names_are_shown_safely(rawmm, tmp_path, monkeypatch):
    """Fault 23: no control bytes reach the terminal, the page or the card; nothing is run."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(NAMES):
        picture(tmp_path / "in" / name, number)
        (tmp_path / "in" / f"bad {name}").write_bytes(b"not a picture")
    code, out, err = rawmm(
        "prepare", "folder", "--path", "in", "--workers", 0, "--max-bad-fraction", 0.6, "--held-out", 0.3
    )
    assert code == 0 and "left out bad -x.png: its content is damaged" in err and "Traceback" not in err
    card = (tmp_path / "data" / "in" / "card.json").read_text()
    page = (tmp_path / "data" / "in" / "card.html").read_text()
    for text in (out, err, card, page, *json.loads(card)["skipped"][0].values()):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert len(all_captions(tmp_path / "data" / "in")) == len(NAMES) and "<script>." not in page
    assert not (tmp_path / "marker").exists()


def test_hostile_options(rawmm, tmp_path):
    for name in ("../out", "a/b", "-x", "", "a\nb", "\x1b[31m", "x" * 101, ".hidden"):
        code, _, err = rawmm("prepare", "digits", "--data-dir", tmp_path, f"--name={name}")
        assert (
            code == 2 and err.count("\n") == 1 and "cannot be the name of a set" in err and "\x1b" not in err
        )
    assert list(tmp_path.iterdir()) == []


def test_strange_paths(tmp_path, rawmm, monkeypatch):
    """Fault 24: all commands in a folder whose name has spaces, quotes, a newline and a dollar sign. Real
    processes and ranks: test_whole_path, test_ranks_faults."""
    folder = tmp_path / "ü '\" $x;\n* \U0001f642"
    captioned(folder / "my pictures", [f"number {n % 3}" for n in range(40)])
    (folder / "link").symlink_to(folder / "my pictures")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    settings = ["data.set=mine", "train.documents=64", "train.sample_every=64", "train.save_every=64"]
    for words in (
        ("prepare", "folder", "--path", "link", "--name", "mine", "--size", "8", "--workers", "0"),
        ("train", "--preset", "tiny", "--run", "one", *settings),
        ("sample", "number 1", "--run", "one", "--out", "my drawings"),
        ("prepare", "mine", "--verify"),
    ):
        code, _, err = rawmm(*words)
        assert code == 0, err
    assert list((folder / "my drawings").glob("*.png"))
    assert not [path for path in tmp_path.iterdir() if path != folder]


@pytest.fixture
def read_only(tmp_path):
    """A folder, and a function that mounts it read-only."""
    folder = tmp_path / "fixed"
    folder.mkdir()
    mounted = []

    def fix():
        for words in (
            ["mount", "--bind", str(folder), str(folder)],
            ["mount", "-o", "remount,bind,ro", str(folder)],
        ):
            if os.geteuid() or subprocess.run(words, capture_output=True).returncode:
                pytest.skip("only root can mount a folder read-only here")
        mounted.append(folder)

    yield folder, fix
    subprocess.run(["umount", "-l", str(folder)], capture_output=True)


def test_read_only_places(rawmm, read_only, tmp_path):
    """Fault 25: writing there is refused before any work; a set there can be read and trained on."""
    folder, fix = read_only
    captioned(tmp_path / "in", ["a"] * 20)
    assert (
        rawmm(
            "prepare",
            "folder",
            "--path",
            tmp_path / "in",
            "--data-dir",
            folder,
            "--name",
            "x",
            "--workers",
            0,
        )[0]
        == 0
    )
    fix()
    code, _, err = rawmm(
        "prepare", "folder", "--path", tmp_path / "in", "--data-dir", folder, "--name", "y", "--workers", 0
    )
    assert code in (2, 3) and err.count("\n") == 1 and "annot be written" in err
    code, _, err = rawmm("prepare", "portraits", "--data-dir", folder / "deeper")
    assert code == 2 and "cannot be created" in err and err.count("\n") == 1
    assert rawmm("prepare", "x", "--verify", "--data-dir", folder)[0] == 0
    code, _, err = rawmm(
        "train",
        "--preset",
        "tiny",
        "--run",
        "r",
        "--runs-dir",
        tmp_path,
        "--data-dir",
        folder,
        "data.set=x",
        "train.documents=32",
        "train.sample_every=32",
        "train.save_every=32",
    )
    assert code == 0, err


def test_bytes_and_files_decode_alike(tmp_path):
    path = picture(tmp_path / "a.png", 3)
    assert (np.asarray(open_image(path)) == np.asarray(open_image(path.read_bytes()))).all()
