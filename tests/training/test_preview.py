"""The preview: fixed prompts and fixed pictures, the same bytes for the same weights, whole files or none."""

import json
import os

import numpy as np
import pytest
import torch
from helpers import randomised
from PIL import Image
from sources import prepare_source

from rawmm_cli.config import build, presets
from rawmm_cli.core import generate as generator
from rawmm_cli.core.drawing import draw
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, encode
from rawmm_cli.data import prepared
from rawmm_cli.data.datasets.digits import NAMES, digits
from rawmm_cli.data.datasets.pairs import pairs
from rawmm_cli.data.datasets.sums import sums
from rawmm_cli.data.images import contact_sheet
from rawmm_cli.data.rows import picture_row
from rawmm_cli.pages import gallery
from rawmm_cli.system.seeds import key
from rawmm_cli.training import preview

TINY = presets.load("tiny", ["sample.max_text=16", "sample.steps=3"])
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return randomised(build.model(TINY)).eval()


@pytest.fixture
def splits(few_digits):
    return [prepared.load(few_digits / "digits", split) for split in prepared.SPLITS]


def look(model, splits, folder, chosen=TINY, documents=128, step=8):
    return preview.preview(chosen, model, *splits, folder, (documents, step))[0]


def test_three_files_and_what_is_in_them(model, splits, tmp_path):
    path = look(model, splits, tmp_path / "run" / "samples")
    assert path == tmp_path / "run" / "samples" / "step_00000008.png"
    assert {file.name for file in path.parent.iterdir()} == {
        "step_00000008.png",
        "step_00000008.json",
        "held_out.png",
    }
    note = json.loads(path.with_suffix(".json").read_text())
    held_out = splits[1]
    assert (note["documents"], note["step"], note["prompts"]) == (128, 8, splits[0].card["labels"])
    assert [item["truth"] for item in note["read"]] == [
        held_out.captions[item["picture"]] for item in note["read"]
    ]
    assert len(note["read"]) == 7  # the small set holds no more
    with Image.open(path.parent / "held_out.png") as sheet:
        cells = gallery.cells(sheet, 7, 7)
    for item, cell in zip(note["read"], cells):  # enlarged, so every sixth pixel is one of the picture
        assert np.array_equal(
            np.array(cell)[3::6, 3::6], held_out.image(item["picture"]).numpy().transpose(1, 2, 0)
        )


def test_the_sheet_is_drawn_with_fixed_noise(model, splits, tmp_path):
    """The sheet drawn by hand: row by row, a prompt a column, noise by the number of the cell."""
    labels = splits[0].card["labels"]
    prompts = [[BOS, *encode(label), IMAGE] for _ in range(4) for label in labels]
    drawn = draw(model, prompts, [key(0, "sheet", n) for n in range(40)], build.sampling(TINY))
    with Image.open(look(model, splits, tmp_path)) as sheet:
        assert np.array_equal(
            np.array(sheet), contact_sheet([picture.pixels for picture in drawn], 10, zoom=6)
        )


def test_the_same_weights_give_the_same_bytes_and_others_do_not(model, splits, tmp_path):
    one, two = (look(model, splits, tmp_path / name).parent for name in ("one", "two"))
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {
        path.name: path.read_bytes() for path in two.iterdir()
    }
    torch.manual_seed(1)
    other = look(randomised(build.model(TINY)).eval(), splits, tmp_path / "three")
    assert other.read_bytes() != (one / other.name).read_bytes()


def test_nobody_draws_lots(model, splits, tmp_path):
    """State of torch's and numpy's generators before and after: training goes on as without a preview."""
    before, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    look(model, splits, tmp_path)
    assert torch.equal(torch.get_rng_state(), before) and np.array_equal(np.random.get_state()[1], numbers)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_ranks_that_do_not_write_do_the_same_work(model, splits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen, forward = [], type(model).forward
    monkeypatch.setattr(
        type(model),
        "forward",
        lambda *arguments: seen.append(arguments[1].tokens.shape) or forward(*arguments),
    )
    look(model, splits, tmp_path / "samples")
    wrote, seen[:] = list(seen), []
    assert look(model, splits, None) is None
    assert seen == wrote and [path.name for path in tmp_path.iterdir()] == ["samples"]


def test_every_file_appears_by_a_rename(model, splits, tmp_path, monkeypatch):
    """Readers see no file or whole ones at every moment; the picture comes before its
    JSON."""
    appeared, replace = [], os.replace

    def watch(source, target):
        for path in tmp_path.glob("[!.]*"):
            Image.open(path).load() if path.suffix == ".png" else json.loads(path.read_text())
        replace(source, target)
        appeared.append(os.path.basename(target))

    monkeypatch.setattr(os, "replace", watch)
    look(model, splits, tmp_path)
    assert appeared == ["held_out.png", "step_00000008.png", "step_00000008.json"]
    assert not list(tmp_path.glob(".*"))


def test_a_young_model_does_not_write_for_ever(splits, tmp_path, monkeypatch):
    """At most twice as much as the longest caption and a little, however long it may write."""
    used = []

    def write(model, prompts, keys, settings):
        used.append(settings)
        return [[*prompt, *encode("x" * settings.max_text)] for prompt in prompts]

    monkeypatch.setattr(generator, "generate", write)
    chosen = presets.load("tiny", ["sample.max_text=1000", "sample.steps=1"])
    note = json.loads(look(build.model(chosen), splits, tmp_path, chosen).with_suffix(".json").read_text())
    longest = max(len(captions[0]) for captions in splits[1].captions)
    assert {item["written"] for item in note["read"]} == {"x" * (2 * longest + 8)}
    assert (used[0].max_pictures, used[0].temperature) == (0, 0.0)


def test_captions_are_what_stands_after_the_picture(model, monkeypatch):
    def write(model, prompts, keys, settings):
        assert all(
            prompt[:2] == [BOS, IMAGE] and not prompt[2].draw and prompt[3:] == [END_IMAGE]
            for prompt in prompts
        )
        return [[*prompt, *encode(f"nine {n}"), EOS] for n, prompt in enumerate(prompts)]

    monkeypatch.setattr(generator, "generate", write)
    blank = torch.zeros(3, 8, 8, dtype=torch.uint8)
    assert preview.write_captions(model, [blank] * 3, build.sampling(TINY)) == [
        "nine 0",
        "nine 1",
        "nine 2",
    ]
    assert preview.write_captions(model, [], build.sampling(TINY)) == []


def captioned(few_digits, tmp_path, captions):
    """A set whose n-th picture has captions[n % len]."""
    rows = {}
    for split in prepared.SPLITS:
        data = prepared.load(few_digits / "digits", split)
        rows[split] = [
            picture_row(data.image(i).numpy().transpose(1, 2, 0), captions[i % len(captions)])
            for i in range(len(data))
        ]
    prepared.write(tmp_path / "data", rows, {})
    return [prepared.load(tmp_path / "data", split) for split in prepared.SPLITS]


@pytest.mark.parametrize(
    "captions, prompts, captioned_rows",
    [
        ([["a"], [], ["b", "c"], ["a"]], ["a", "b", "c"], [0, 2, 3, 4, 6]),
        ([[""], ["", "x"]], ["x"], [1, 3, 5]),
        ([[]], [""], []),
    ],
)
def test_prompts_and_pictures_of_any_set(few_digits, tmp_path, model, captions, prompts, captioned_rows):
    """Different captions first, each picture with one; a set without any is drawn and not read."""
    splits = captioned(few_digits, tmp_path, captions)
    note = json.loads(look(model, splits, tmp_path / "samples").with_suffix(".json").read_text())
    assert note["prompts"] == prompts
    assert sorted(item["picture"] for item in note["read"]) == captioned_rows
    assert all(item["truth"] and all(item["truth"]) for item in note["read"])
    assert (tmp_path / "samples" / "held_out.png").exists() == bool(captioned_rows)


def test_different_captions_come_first():
    class Set:
        captions = [["a"], ["a"], ["b"], [], ["a"], ["c", "a"], ["b"], ["d"]]

    assert preview.rows_to_read(Set) == [0, 2, 5, 7, 1, 4, 6]
    assert preview.rows_to_read(Set, most=3) == [0, 2, 5]
    assert preview.rows_to_read(Set, most=5) == [0, 2, 5, 7, 1]
    assert preview.rows_to_read(Set, fits=lambda row: row not in (0, 5)) == [1, 2, 7, 4, 6]


def test_who_never_reads_is_not_asked_to(few_digits, splits, tmp_path, model):
    chosen = presets.load("tiny", ["data.read=0", "sample.steps=1"])
    assert json.loads(look(model, splits, tmp_path, chosen).with_suffix(".json").read_text())["read"] == []


def test_of_documents_the_pictures_that_they_draw_are_drawn(tmp_path):
    """Behind all that stands before them, pictures that are read among it."""
    prepare_source(tmp_path / "sums", sums(digits(), count=300))
    train, held_out = (prepared.load(tmp_path / "sums", split) for split in prepared.SPLITS)
    prompts = preview.sheet_prompts(train)
    assert len(prompts) == 10 and {"", "[picture] plus "} <= set(prompts)
    for name, beginning in prompts.items():
        assert name.count("[picture]") == sum(not isinstance(part, str) for part in beginning)
    name = next(name for name in prompts if name.startswith("[picture] plus [picture] is"))
    rows = (
        row for row, draw in enumerate(train.draw) if draw == [False, False, True] and train.order[row][0]
    )
    assert torch.equal(prompts[name][0], train.image(next(rows), 0)) and name.split()[-1] in NAMES
    config = presets.changed(TINY, {"data.set": "sums", "train.length": 60})
    model = randomised(build.model(config)).eval()
    path, losses = preview.preview(config, model, train, held_out, tmp_path / "samples", (64, 4))
    note = json.loads(path.with_suffix(".json").read_text())
    assert note["prompts"] == list(prompts) and note["read"] == [] and "held_out_image" in losses
    with Image.open(path) as sheet:
        assert sheet.size == (10 * 50 + 2, 4 * 50 + 2)  # a column for each prompt


def test_of_documents_that_draw_nothing_the_first_text_is_the_prompt(tmp_path):
    prepare_source(tmp_path / "pairs", pairs(digits(), count=40))
    prompts = preview.sheet_prompts(prepared.load(tmp_path / "pairs", "train"))
    assert all(beginning == [name] and "? " in name for name, beginning in prompts.items())
