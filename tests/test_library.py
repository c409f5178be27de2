"""rawmm as a library: its page runs as it is written, and each function does what the command does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rawmm
from rawmm_cli.core.batch import pack
from rawmm_cli.core.loss import joint_loss

ROOT = Path(__file__).parents[1]
PAGES = ("docs/library.md", "README.md")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def portraits():
    return rawmm.load()


@pytest.fixture(scope="module")
def images(portraits):
    """Two drawings in two steps, (3, 64, 64) uint8."""
    samples = rawmm.sample(portraits, "a portrait of a smiling woman", count=2, seed=1, steps=2)
    return [one.images[0] for one in samples]


@pytest.mark.parametrize("page", PAGES)
def test_the_page_runs_as_it_is_written(page, tmp_path, monkeypatch):
    """Every Python block, in order, in one namespace and an empty folder."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks, names = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M), {}
    assert blocks, f"{page} has no Python"
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    if page == PAGES[0]:
        assert names["need"].log2_vocabulary == 144 and round(names["share"], 3) == 0.097
        assert names["message"].startswith("unknown solver 'eular' (did you mean")
        assert all(caption.startswith("a ") for caption in names["captions"])
        assert names["exact"].psnr == [np.inf] * 2 and names["exact"].bits == [8 * 3 * 64 * 64] * 2
        assert max(names["jpegs"].bits) <= 8192 and min(names["inverted"].psnr) > 30
        assert 0 < names["cost"].bits_per_byte < 8 and (tmp_path / "portrait.png").is_file()
        first = len([line for line in blocks[0].splitlines() if line.strip() and "import" not in line])
        assert first <= 12


@pytest.mark.process
def test_importing_it_is_light():
    """`import rawmm` in a folder elsewhere, from the checkout that is installed or lies on the path."""
    code = """import sys, rawmm
assert set(rawmm.__all__) <= set(dir(rawmm))
assert rawmm.budget(256).length == 256
heavy = {"torch", "numpy", "pydantic", "typer", "datasets", "PIL"} & set(sys.modules)
assert not heavy, heavy"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_wheel_ships_it():
    """rawmm.py stands beside the package in the wheel and in the source distribution."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'only-include = ["rawmm.py", "rawmm_cli"]' in text
    assert '\ninclude = ["rawmm.py", "rawmm_cli", ' in text


def test_samples_are_those_of_the_command(portraits, tmp_path, request):
    command = request.getfixturevalue("rawmm")
    words = [
        "sample",
        "a portrait of",
        "--seed",
        "5",
        "--count",
        "2",
        "--steps",
        "2",
        "--out",
        str(tmp_path),
        "--json",
    ]
    code, out, _ = command(*words)
    printed = json.loads(out)
    assert code == 0
    samples = rawmm.sample(portraits, "a portrait of", seed=5, count=2, steps=2)
    for sample, entry in zip(samples, printed["samples"], strict=True):
        assert sample.text == "".join(item.get("text", "") for item in entry["items"])
        (path,) = [item["image"] for item in entry["items"] if "image" in item]
        assert torch.equal(sample.images[0], rawmm.read_image(path))
        assert [type(part) is str for part in sample.parts] == ["text" in item for item in entry["items"]]
    alone = rawmm.sample(portraits, "a portrait of", seed=5, steps=2)[0]
    assert torch.equal(alone.images[0], samples[0].images[0])


def test_captions_are_greedy_and_one_an_image(portraits, images):
    together = rawmm.caption(portraits, images)
    assert together == [rawmm.caption(portraits, image)[0] for image in images]
    assert together == rawmm.caption(portraits, torch.stack(images), seed=7)
    begun = rawmm.caption(portraits, images[0], prompt="a portrait of")[0]
    assert begun and not begun.startswith("a portrait of")
    assert rawmm.caption(portraits, []) == []


def test_a_drawing_on_an_image_keeps_what_the_mask_leaves(portraits, images, tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[:32] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    (sample,) = rawmm.sample(
        portraits, "a portrait of a man", images=images[0], mask=tmp_path / "mask.png", steps=2
    )
    assert torch.equal(sample.images[0][:, 32:], images[0][:, 32:])
    assert not torch.equal(sample.images[0][:, :32], images[0][:, :32])


def test_the_loss_is_the_joint_loss(portraits, images):
    documents = [
        rawmm.drawing(portraits, "a woman", images[0]),
        rawmm.reading(portraits, images[1], "a smiling woman"),
    ]
    losses, again, other = (rawmm.loss(portraits, documents, seed=seed) for seed in (0, 0, 1))
    assert losses.total.item() == again.total.item() and losses.image.item() != other.image.item()
    # text before a picture, and after a clean one, does not depend on the noise
    assert losses.text.item() == pytest.approx(other.text.item(), rel=1e-5)
    weights, network = portraits.config.loss, portraits.model
    assert losses.total.item() == pytest.approx(
        weights.text * losses.text.item() + weights.image * losses.image.item(), rel=1e-6
    )
    batch = pack(documents[1:], 200, network.blocks)
    assert rawmm.loss(portraits, documents[1:]).text.item() == pytest.approx(
        joint_loss(network, batch).text.item(), rel=1e-5
    )


def test_steps_learn(images):
    """Ten steps on one document, after its bits were measured: the loss falls, and every parameter moves."""
    model = rawmm.load()
    rawmm.bits(model, images[:1])
    documents = [rawmm.drawing(model, "zzz zzz zzz", images[0])]
    before = {name: value.clone() for name, value in model.model.named_parameters()}
    optimizer = torch.optim.AdamW(model.model.parameters(), lr=1e-3)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = rawmm.loss(model, documents)
        loss.total.backward()
        optimizer.step()
        losses.append(loss.text.item())
    assert losses[-1] < losses[0] / 2
    assert all(not torch.equal(before[name], value) for name, value in model.model.named_parameters())


def test_reconstruction_is_that_of_the_codec(portraits, images, tmp_path):
    raw = rawmm.reconstruct(torch.stack(images))
    assert torch.equal(raw.images, torch.stack(images)) and raw.psnr == [np.inf, np.inf] and raw.codes is None
    small = rawmm.reconstruct(images, "resize@16")
    assert small.bits == [8 * 3 * 16 * 16] * 2 and max(small.psnr) < 40
    error = (small.images.double() - torch.stack(images).double()).square().flatten(1).mean(1)
    assert small.psnr == pytest.approx((10 * torch.log10(255**2 / error)).tolist())
    odd = torch.randint(0, 256, (1, 3, 13, 9), dtype=torch.uint8)
    assert torch.equal(rawmm.reconstruct(odd, "raw", model=portraits).images, odd)  # padded and cropped


def test_bits_are_those_of_the_bound(portraits, images):
    cost = rawmm.bits(portraits, images)
    noise = rawmm.bits(portraits, torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8))
    assert (cost.pictures, noise.pictures) == (2, 1)
    assert cost.standard_error > 0 and noise.standard_error is None
    assert cost.bits_per_byte < 8 <= noise.bits_per_byte
    assert rawmm.bits(portraits, images[:1], ["a man"]) != rawmm.bits(portraits, images[:1])


def test_budgets_are_exact():
    assert rawmm.budget(256).vocabulary == 2**144
    assert rawmm.budget(vocabulary=16384).length == -(-36864 // 14)
    verdict = rawmm.budget(256, 16384, bits=3584)
    assert verdict.lossless_possible and verdict.share == 1
    assert not rawmm.budget(256, 16384, bits=3584.5).lossless_possible
    assert rawmm.budget(np.int64(256), 16384, bits=np.float32(3584)).share == 1
    assert rawmm.budget(1024, size=32, bits_per_byte=3.44).bits_needed == pytest.approx(3 * 32 * 32 * 3.44)


@pytest.mark.parametrize(
    "call, kind, message",
    (
        (lambda m, i: rawmm.load("nothing"), rawmm.CheckpointError, "no model 'nothing'"),
        (lambda m, i: rawmm.load(device="tpu"), rawmm.ConfigError, "device"),
        (lambda m, i: rawmm.sample(m, "a", step=4), rawmm.ConfigError, "unknown setting 'step'"),
        (lambda m, i: rawmm.sample(m, "a", solver="eular"), rawmm.ConfigError, "unknown solver 'eular'"),
        (lambda m, i: rawmm.sample(m, "a\x07"), rawmm.ConfigError, "control character"),
        (lambda m, i: rawmm.sample(m, "a", images=i[0], strength=2), rawmm.ConfigError, "strength"),
        (lambda m, i: rawmm.sample(m, "a", images="none.png"), rawmm.DataError, "none.png"),
        (lambda m, i: rawmm.caption(m, i[0].float()), rawmm.DataError, "images are torch.float32"),
        (lambda m, i: rawmm.caption(m, i[0][:1]), rawmm.DataError, "of shape (1, 64, 64)"),
        (lambda m, i: rawmm.caption(m, i[0][:, :63]), rawmm.DataError, "63"),
        (lambda m, i: rawmm.loss(m, []), rawmm.DataError, "0 documents are given"),
        (lambda m, i: rawmm.loss(m, [rawmm.drawing(m, "a", i[0][:, :63])]), rawmm.DataError, "63"),
        (lambda m, i: rawmm.reconstruct([], "raw"), rawmm.DataError, "images of none"),
        (lambda m, i: rawmm.reconstruct([i[0], i[0][:, :32]]), rawmm.DataError, "64x32 and 64x64"),
        (lambda m, i: rawmm.reconstruct(i, "jpg@9"), rawmm.ConfigError, "unknown codec 'jpg@9'"),
        (lambda m, i: rawmm.bits(m, i, ["a"]), rawmm.DataError, "2 images and 1 caption"),
        (lambda m, i: rawmm.budget(0), rawmm.ConfigError, "length = 0; allowed: a whole number from 1"),
    ),
)
def test_bad_input_is_an_error_of_one_line(call, kind, message, portraits, images):
    with pytest.raises(kind, match=re.escape(message)) as raised:
        call(portraits, images)
    assert isinstance(raised.value, rawmm.RawmmError) and "\n" not in str(raised.value)


C, D = rawmm.ConfigError, rawmm.DataError
PICTURES = (
    (None, "images are None; allowed: a torch.uint8 tensor"),
    (5, "images are 5"),
    ("", "images are ''"),
    (b"a.png", "images are of type bytes"),
    ({"a": 1}, "images are of type dict"),
    (np.zeros((64, 64, 3), np.uint8), "torch.from_numpy(a).permute(2, 0, 1)"),
    (Image.new("RGB", (64, 64)), "torch.from_numpy(numpy.array(image.convert('RGB'))).permute(2, 0, 1)"),
    (torch.zeros(3, 64, 64), "images are torch.float32 of shape (3, 64, 64)"),
    (torch.zeros(64, 64, 3, dtype=torch.uint8), "of shape (64, 64, 3); allowed"),
    (torch.zeros(3, 0, 64, dtype=torch.uint8), "allowed: sides of at least 1 pixel"),
)
TAKERS = {
    "sample": lambda m, images: rawmm.sample(m, "a", images=images),
    "caption": rawmm.caption,
    "drawing": lambda m, images: rawmm.drawing(m, "a", images),
    "reading": lambda m, images: rawmm.reading(m, images, "a"),
    "reconstruct": lambda m, images: rawmm.reconstruct(images),
    "bits": rawmm.bits,
    "save_image": lambda m, images: rawmm.save_image(images, "a.png"),
}


def one_line(kind, message, call, *values):
    with pytest.raises(kind, match=re.escape(message)) as raised:
        call(*values)
    text = str(raised.value)
    assert isinstance(raised.value, rawmm.RawmmError) and text.isprintable() and "--" not in text


@pytest.mark.parametrize("taker", TAKERS)
def test_what_is_no_image_is_refused_everywhere(taker, portraits):
    for value, message in PICTURES:
        one_line(D, message, TAKERS[taker], portraits, value)
        one_line(D, message, TAKERS[taker], portraits, [value])
    if taker not in ("reconstruct", "save_image"):
        odd = torch.zeros(3, 64, 63, dtype=torch.uint8)
        one_line(D, "does not divide into patches of 8", TAKERS[taker], portraits, odd)


@pytest.mark.parametrize("taker", ("drawing", "reading", "save_image"))
@pytest.mark.parametrize("count", (0, 2))
def test_one_image_is_one_image(taker, count, portraits):
    blank = torch.zeros(count, 3, 64, 64, dtype=torch.uint8)
    for images in (blank, list(blank)):
        one_line(D, f"{count} images are given; allowed: one image", TAKERS[taker], portraits, images)


@pytest.mark.parametrize("value", ("portraits", None, 5, torch.nn.Linear(1, 1)))
def test_what_is_no_model_is_refused_everywhere(value):
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    calls = [TAKERS[name] for name in ("sample", "caption", "drawing", "reading", "bits")]
    for call in calls:
        one_line(C, "allowed: what rawmm.load returns", call, value, image)
    one_line(C, "allowed: what rawmm.load returns", rawmm.loss, value, [[256]])
    if value is not None:
        one_line(C, "allowed: what rawmm.load returns", lambda: rawmm.reconstruct(image, model=value))


BLANK = torch.zeros(3, 64, 64, dtype=torch.uint8)
WRONG = {
    "load ''": (C, "name is ''", lambda m: rawmm.load("")),
    "load None": (C, "name is None", lambda m: rawmm.load(None)),
    "device None": (C, "device is None; allowed: one string", lambda m: rawmm.load(device=None)),
    "bytes": (C, "prompt is of type bytes", lambda m: rawmm.sample(m, b"a")),
    "prompts": (C, "call the function once for each", lambda m: rawmm.sample(m, ["a", "b"])),
    "prompt None": (C, "prompt is None", lambda m: rawmm.caption(m, BLANK, prompt=None)),
    "steps 0": (C, "steps = 0; allowed: a whole number from 1 to 1,000", lambda m: rawmm.sample(m, steps=0)),
    "steps 2.0": (C, "steps = 2.0; allowed: a whole", lambda m: rawmm.sample(m, steps=2.0)),
    "steps True": (C, "steps = True; allowed: a whole", lambda m: rawmm.sample(m, steps=True)),
    "steps str": (C, "steps = '4'; allowed: a whole", lambda m: rawmm.sample(m, steps="4")),
    "guidance": (C, "guidance = '2'; allowed: a number", lambda m: rawmm.sample(m, guidance="2")),
    "temperature": (C, "temperature = None", lambda m: rawmm.sample(m, temperature=None)),
    "top_p": (C, "top_p = True; allowed: more", lambda m: rawmm.sample(m, top_p=True)),
    "max_text": (C, "max_text = 0", lambda m: rawmm.caption(m, BLANK, max_text=0)),
    "size": (C, "size = 64.5", lambda m: rawmm.sample(m, size=64.5)),
    "size of patches": (C, "size 63: a picture", lambda m: rawmm.sample(m, size=63)),
    "solver": (C, "unknown solver '5'", lambda m: rawmm.sample(m, solver=5)),
    "count": (C, "count = 0; allowed: a whole number of at least 1", lambda m: rawmm.sample(m, count=0)),
    "count 1.5": (C, "count = 1.5", lambda m: rawmm.sample(m, count=1.5)),
    "seed": (C, "seed = -1; allowed: a whole number of", lambda m: rawmm.sample(m, seed=-1)),
    "seed None": (C, "seed = None", lambda m: rawmm.bits(m, BLANK, seed=None)),
    "seed of a loss": (C, "seed = 0.5", lambda m: rawmm.loss(m, [[256, 97, 257]], seed=0.5)),
    "strength": (C, "strength = '1'", lambda m: rawmm.sample(m, images=BLANK, strength="1")),
    "little": (C, "strength = 0.001", lambda m: rawmm.sample(m, images=BLANK, strength=0.001)),
    "no image": (C, "mask and strength work on", lambda m: rawmm.sample(m, strength=0.5)),
    "mask": (C, "mask is 5; allowed: a path", lambda m: rawmm.sample(m, images=BLANK, mask=5)),
    "no setting of captions": (C, "'steps' is no setting of", lambda m: rawmm.caption(m, BLANK, steps=4)),
    "text": (C, "text is 5", lambda m: rawmm.drawing(m, 5, BLANK)),
    "one document": (D, "write [document]", lambda m: rawmm.loss(m, rawmm.drawing(m, "a", BLANK))),
    "no documents": (D, "documents are 'a'", lambda m: rawmm.loss(m, "a")),
    "empty document": (D, "a document is of type list", lambda m: rawmm.loss(m, [[]])),
    "a text": (D, "a document is 'a'", lambda m: rawmm.loss(m, ["a"])),
    "token": (D, "holds 99999; allowed: pictures, and tokens", lambda m: rawmm.loss(m, [[256, 99999]])),
    "token -1": (D, "holds -1", lambda m: rawmm.loss(m, [[256, -1]])),
    "captions": (C, "captions is 'a'; allowed: a list", lambda m: rawmm.bits(m, BLANK, "a")),
    "a caption": (C, "a caption is None", lambda m: rawmm.bits(m, BLANK, [None])),
    "codec None": (C, "codec is None", lambda m: rawmm.reconstruct(BLANK, None)),
    "codec of 0": (C, "codec resize@0: '0' is not", lambda m: rawmm.reconstruct(BLANK, "resize@0")),
    "codec of lines": (C, "codec is 'a\\nb'", lambda m: rawmm.reconstruct(BLANK, "a\nb")),
    "codec ''": (C, "codec is ''", lambda m: rawmm.reconstruct(BLANK, "")),
    "steps of ode": (C, "steps = 0", lambda m: rawmm.reconstruct(BLANK, "ode", model=m, steps=0)),
    "V = 1": (C, "vocabulary = 1; allowed: a whole number from 2", lambda m: rawmm.budget(2, 1)),
    "L float": (C, "length = 2.5", lambda m: rawmm.budget(2.5)),
    "L large": (C, "to 10^100", lambda m: rawmm.budget(10**5000)),
    "bits str": (C, "bits = '3'", lambda m: rawmm.budget(2, bits="3")),
    "bits nan": (C, "bits = nan", lambda m: rawmm.budget(2, bits=float("nan"))),
    "bits inf": (C, "bits = inf", lambda m: rawmm.budget(2, bits=float("inf"))),
    "rate": (C, "bits_per_byte = 9; allowed: more than 0", lambda m: rawmm.budget(2, bits_per_byte=9)),
    "size of a budget": (C, "size = True", lambda m: rawmm.budget(2, size=True)),
    "path None": (C, "path is None", lambda m: rawmm.read_image(None)),
    "jpg": (C, "ends in .png", lambda m: rawmm.save_image(BLANK, "a.jpg")),
    "path of a picture": (C, "path is 5", lambda m: rawmm.save_image(BLANK, 5)),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_an_error_of_one_line(case, portraits):
    kind, message, call = WRONG[case]
    one_line(kind, message, call, portraits)
