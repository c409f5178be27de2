"""Evaluators of drawings as a set, of drawings that are known: real pictures, copies, one picture of each
class, blurred ones."""

import math

import numpy as np
import pytest
import torch
from helpers import as_loaded

from rawmm_cli.comparison.results import METRICS
from rawmm_cli.config import build, presets
from rawmm_cli.core import generate as generator
from rawmm_cli.core.document import Picture
from rawmm_cli.core.text_tokenizer import END_IMAGE, EOS, IMAGE, decode
from rawmm_cli.data import prepared
from rawmm_cli.data.datasets.digits import NAMES
from rawmm_cli.data.rows import picture_row
from rawmm_cli.evaluation import copies, diversity, fidelity, judges, seams
from rawmm_cli.evaluation.subject import Drawing, Subject
from rawmm_cli.sampling.request import Request

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = presets.load("tiny")


@pytest.fixture(scope="module")
def data(prepared_digits, tmp_path_factory):
    """600 training digits, and 360 held-out ones."""
    folder = tmp_path_factory.mktemp("sets") / "digits"
    rows = {}
    for split in prepared.SPLITS:
        whole = prepared.load(prepared_digits / "digits", split)
        rows[split] = [
            picture_row(whole.image(n).numpy().transpose(1, 2, 0), whole.captions[n], int(whole.labels[n]))
            for n in range(min(600, len(whole)))
        ]
    prepared.write(folder, rows, {"labels": list(NAMES)})
    return folder


def subject_of(folder, drawn=(), held_out=None, settings=TINY):
    """A subject that drew these pictures: (caption, pixels)."""
    splits = [prepared.load(folder, split) for split in prepared.SPLITS]
    if held_out is not None:
        rows = [
            picture_row(
                splits[1].image(n).numpy().transpose(1, 2, 0), splits[1].captions[n], splits[1].labels[n]
            )
            for n in held_out
        ]
        table = prepared.pa.Table.from_pylist(rows, splits[1].table.schema)
        splits[1] = prepared.Prepared(folder, "held_out", table, splits[1].card)
    subject = Subject(as_loaded(build.model(settings).eval(), settings), Request(), *splits, folder.parent)
    subject.drawings.extend(Drawing(f"{n}", caption, pixels) for n, (caption, pixels) in enumerate(drawn))
    return subject


def of(split, rows):
    return [(NAMES[split.labels[n]], split.image(n)) for n in rows]


@pytest.fixture(scope="module")
def real(data):
    """Drawings that are half of the held-out pictures of each class; the other half is held out."""
    held_out = prepared.load(data, "held_out")
    rows = [(held_out.labels == label).nonzero()[0] for label in range(10)]
    halves = [np.concatenate([own[first : len(own) // 2 * 2 : 2] for own in rows]) for first in (0, 1)]
    return subject_of(data, of(held_out, halves[0]), halves[1])


@pytest.fixture(scope="module")
def copied(data):
    train = prepared.load(data, "train")
    return subject_of(data, of(train, range(200)))


@pytest.fixture(scope="module")
def collapsed(data):
    """One picture of each class, thirty times."""
    held_out = prepared.load(data, "held_out")
    rows = [int((held_out.labels == label).nonzero()[0][0]) for label in range(10)]
    return subject_of(data, [one for one in of(held_out, rows) for _ in range(30)])


def test_real_pictures_are_like_real_ones(real):
    results = fidelity.measure(real)
    one, score = results["fidelity"], results["classification_accuracy_score"]
    assert one.count == len(real.drawings) > 170 and "learned the classes" in one.space
    assert abs(one.kid) < 0.05 and min(one.precision, one.recall, one.coverage) > 0.9
    assert one.density == pytest.approx(1, abs=0.15)
    assert score.accuracy > 0.9 and score.count == one.count and score.kind == "SVM"
    assert score.real == pytest.approx(score.accuracy, abs=0.05)
    for result in results.values():
        for metric, single in result.values.items():
            assert np.mean(single.values) == pytest.approx(getattr(result, metric))
            assert len(single.ids) == len(single.values) == len(set(single.ids)) == one.count


def test_one_picture_of_each_class_is_precise_and_teaches_little(collapsed, real):
    results, other = fidelity.measure(collapsed), fidelity.measure(real)
    one, score = results["fidelity"], results["classification_accuracy_score"]
    assert one.precision == 1 and one.recall < 0.1 and one.coverage < 0.3
    assert one.kid > other["fidelity"].kid + 0.1
    assert score.accuracy < other["classification_accuracy_score"].accuracy - 0.1
    assert score.real > 0.9 and (score.count, score.real_count) == (300, 300)


def test_features_are_learned_once_and_kept(data, real):
    """The network lies in the folder of the set; what is read from there gives the same to the bit."""
    before = fidelity.measure(real)["fidelity"]
    assert (data / "classes-8.safetensors").is_file() and (data / "classes-8.json").is_file()
    real.shared.clear()
    assert fidelity.measure(real)["fidelity"] == before
    (data / "classes-8.json").write_text("{")
    real.shared.clear()
    assert fidelity.measure(real)["fidelity"] == before


def test_copies_are_seen_and_real_pictures_are_none(copied, real):
    """Half of the held-out pictures are nothing that the other half is not: about 1 % and 50 %."""
    one, other = copies.measure(copied)["copies"], copies.measure(real)["copies"]
    assert one.copies == one.shifted == one.identical == one.nearer == 1 and one.identical_real == 0
    assert one.distance["drawn"] == {"min": 0, "p01": 0, "median": 0} and one.distance["real"]["min"] > 5
    assert (one.count, one.real_count, one.known) == (200, 360, 600)
    assert other.copies < 0.05 and other.shifted < 0.05 and other.identical == 0
    assert other.nearer == pytest.approx(0.5, abs=0.08)
    for metric, single in other.values.items():
        assert (
            np.mean(single.values) == pytest.approx(getattr(other, metric)) and len(single.ids) == other.count
        )


def test_moved_copies_are_seen_when_they_are_moved_back(data):
    train = prepared.load(data, "train")
    moved = [(caption, torch.roll(pixels, (1, 1), (1, 2))) for caption, pixels in of(train, range(100))]
    one = copies.measure(subject_of(data, moved))["copies"]
    assert one.identical == 0 and one.copies < 0.1 and one.shifted > 0.95


def test_drawings_of_one_prompt_are_as_different_as_real_ones_or_not_at_all(data, collapsed):
    held_out = prepared.load(data, "held_out")
    same = diversity.measure(collapsed)["diversity"]
    assert same.distance == same.bits == same.collision_bits == 0 and same.different == pytest.approx(1 / 30)
    assert same.distance_real > 1 and same.bits_real > 20 and (same.prompts, same.each) == (10, 30)
    rows = np.concatenate([(held_out.labels == label).nonzero()[0][:30] for label in range(10)])
    alike = diversity.measure(subject_of(data, of(held_out, rows)))["diversity"]
    assert alike.bits == pytest.approx(alike.bits_real, rel=0.1) and alike.different == 1
    assert alike.collision_bits == pytest.approx(math.log2(10 * 30 * 29 / 2))  # no two are alike
    assert alike.distance == pytest.approx(alike.distance_real, rel=0.15)
    assert np.mean(alike.values["distance"].values) == pytest.approx(alike.distance)
    assert alike.values["bits"].ids == list(NAMES)
    assert np.mean(alike.values["bits"].values) == pytest.approx(alike.bits)


def test_blurred_drawings_are_less_sharp_and_noise_is_sharper(data):
    held_out = prepared.load(data, "held_out")
    own = of(held_out, range(360))
    noise = torch.Generator().manual_seed(0)
    changed = {
        "as they are": lambda x: x,
        "blurred": lambda x: torch.nn.functional.avg_pool2d(x.float(), 3, 1, 1),
        "noise": lambda x: 255.0 * torch.randint(0, 2, x.shape[1:], generator=noise).expand_as(x),
    }
    results = {}
    for name, change in changed.items():
        drawn = [(text, change(pixels).clamp(0, 255).to(torch.uint8)) for text, pixels in own]
        results[name] = seams.measure(subject_of(data, drawn))["sharpness"]
    one = results["as they are"]
    assert one.ratio == pytest.approx(1) and one.fine_drawn == pytest.approx(one.fine_real)
    assert np.mean(one.values["ratio"].values) == pytest.approx(1)
    assert results["blurred"].ratio < 0.5 < 1.1 < results["noise"].ratio
    assert results["blurred"].fine_drawn < one.fine_drawn < results["noise"].fine_drawn


def test_comparisons_find_their_columns(collapsed):
    """Every metric that a comparison takes from these evaluators is a number of their results."""
    measured = [fidelity, copies, diversity, seams]
    names = {module.__name__.rpartition(".")[2] for module in measured}
    results = {name: result for module in measured for name, result in module.measure(collapsed).items()}
    wanted = [metric for metric, column in METRICS.items() if column["evaluator"] in names]
    assert len(wanted) >= 14
    for metric in wanted:
        name, field = metric.split(".")
        assert isinstance(getattr(results[name], field), float)


def test_seams_of_single_drawings_add_up(real):
    one = seams.measure(real)["seams"]
    assert np.mean(one.values["ratio"].values) == pytest.approx(one.ratio)


# --------------------------------------------------------------------- captions without classes, few pictures


@pytest.fixture
def captioned(tmp_path):
    """Two captions that thirty pictures have each, and thirty that one has."""
    rng = np.random.default_rng(0)
    captions = ["a red dot"] * 30 + ["a blue dot"] * 30 + [f"dot {n}" for n in range(300)]
    rows = [picture_row(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), [text]) for text in captions]
    prepared.write(tmp_path / "digits", {"train": rows, "held_out": rows[20:60] + rows[70:80]}, {})
    return tmp_path / "digits"


def test_captions_without_classes_are_drawn_again_and_again(captioned, monkeypatch):
    rng = torch.Generator().manual_seed(0)
    asked = []

    def generate(model, prompts, *_):
        """Noise, but of a blue dot always the same."""
        asked.extend(decode(prompt) for prompt in prompts)
        noise = torch.randint(0, 256, (len(prompts), 3, 8, 8), generator=rng).to(torch.uint8)
        noise[[n for n, prompt in enumerate(prompts) if "blue" in decode(prompt)]] = 7
        return [[*p, IMAGE, Picture(pixels, False), END_IMAGE, EOS] for p, pixels in zip(prompts, noise)]

    monkeypatch.setattr(generator, "generate", generate)
    subject = subject_of(captioned)
    one = diversity.measure(subject)["diversity"]
    assert one.prompts == 2 and one.each == 30 and "random weights" in one.space
    assert {asked.count(text) for text in ("a red dot", "a blue dot")} == {diversity.SEEDS}
    bits = dict(zip(one.values["bits"].ids, one.values["bits"].values))
    assert bits["a blue dot"] == 0 and bits["a red dot"] == pytest.approx(one.bits_real, rel=0.05)
    assert one.different == pytest.approx((1 + 1 / 30) / 2)
    results = fidelity.measure(subject)
    assert list(results) == ["fidelity"] and results["fidelity"].space == one.space


def test_other_sets_are_seen_by_mobilenet_where_it_is_installed(captioned, monkeypatch):
    class Network:
        name = "MobileNetV2"

        def __call__(self, pictures):
            return pictures.flatten(1).float(), []

    monkeypatch.setattr(fidelity.mobilenet, "weights", lambda: "weights.pth")
    monkeypatch.setattr(fidelity.mobilenet, "load", lambda path, side: {96: Network()}[side])
    subject = subject_of(captioned)
    space = fidelity.space_of(subject)
    pictures = [subject.train.image(n) for n in range(250)]  # of more than one part
    assert space.name == "MobileNetV2" and torch.equal(space.see(pictures), torch.stack(pictures).flatten(1))


def test_an_untrained_network_is_the_same_always():
    pictures = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    torch.manual_seed(1)
    features = fidelity.untrained(8)(pictures)[1]
    torch.manual_seed(2)
    assert torch.equal(fidelity.untrained(8)(pictures)[1], features) and features.shape == (
        4,
        judges.FEATURES,
    )


def test_too_few_drawings_give_nothing(data):
    train = prepared.load(data, "train")
    few = subject_of(data, of(train, range(4)))
    assert "fidelity" not in fidelity.measure(few) and diversity.measure(few) == {}
    one_class = subject_of(data, of(train, (train.labels == 3).nonzero()[0][:50]))
    assert "classification_accuracy_score" not in fidelity.measure(one_class)
