"""Steps of a drawing that are captured and repeated are the steps themselves. Here tapes stand for CUDA
graphs (`tapes.py`); `tests/cuda` asks real ones."""

import copy

import numpy as np
import pytest
import tapes
import torch
from combinations import every_combination, made
from drawing_models import SMALL, A, B, talkative
from helpers import picture
from tapes import Tape

from rawmm_cli.core import graphs
from rawmm_cli.core.denoising import Denoising
from rawmm_cli.core.document import Canvas
from rawmm_cli.core.drawing import Network, draw, precision
from rawmm_cli.core.graphs import MOST, Graphs
from rawmm_cli.core.heads.diffusion import DiffusionHead
from rawmm_cli.core.solvers import SOLVERS
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, IMAGE, encode

PROMPTS = [[BOS, A, IMAGE], [BOS, IMAGE], [BOS, *encode("a bird"), IMAGE]]
OTHERS = [[BOS, B, B, IMAGE], [BOS, *encode("another"), IMAGE], [BOS, IMAGE]]
KEYS = [1, 2, 3]


@pytest.fixture(autouse=True)
def by_tapes(monkeypatch):
    tapes.use(monkeypatch)


def same(model, prompts, sampling, keys=KEYS, **more):
    """Whether graphs change nothing, to the bit -> the pictures."""
    expected = draw(model, prompts, keys, sampling, graphs=False, **more)
    pictures = draw(model, prompts, keys, sampling, **more)
    for one, other in zip(pictures, expected):
        assert torch.equal(one.pixels, other.pixels)
    return torch.stack([picture.pixels for picture in pictures])


def kept(model):
    return vars(model).get("network")


# --------------------------------------------------------------------------------------------- whole drawings


@every_combination
def test_every_part_draws_the_same(combination):
    model = made(combination)
    sampling = SMALL.changed(guidance=2.0)
    diffusion = isinstance(model.head, Denoising)
    sampling = sampling if diffusion else sampling.changed(drawing=None)  # its own
    first = [draw(model, one, KEYS, sampling, graphs=False) for one in (PROMPTS, OTHERS, PROMPTS)]
    again = [draw(model, one, KEYS, sampling) for one in (PROMPTS, OTHERS, PROMPTS)]
    for expected, pictures in zip(first, again):
        assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(pictures, expected))
    if isinstance(model.head, DiffusionHead):
        assert (Tape.made, Tape.played) == (1, 3 + 4 + 4)  # but for the very first step
    if model.head.reads_ahead:
        assert Tape.made == 0  # every step is another one


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("guidance, interval", [(1.0, (0.0, 1.0)), (2.0, (0.0, 1.0)), (3.0, (0.2, 0.6))])
@pytest.mark.parametrize("canvas", [False, True])
def test_solvers_intervals_and_canvases(solver, guidance, interval, canvas):
    size = (4, 6)
    sampling = SMALL.changed(
        size=size, steps=10, solver=solver, guidance=guidance, interval=interval, rescale=0.5
    )
    mask = torch.zeros(size, dtype=torch.bool)
    mask[:, 2:] = True
    pixels = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    same(talkative(), PROMPTS, sampling, canvas=Canvas(pixels, mask, 0.8) if canvas else None)
    assert Tape.made == (2 if interval[0] else 1)  # all rows, and the guided half of them


@pytest.mark.parametrize("backbone", ["gau", "transformer"])
@pytest.mark.parametrize("setting", ["fp32", "bf16"])
def test_drawings_behind_each_other_do_not_disturb_each_other(backbone, setting):
    """Other texts, and pictures to read among them; a network of another length or size begins anew."""
    rng, model, sampling = np.random.default_rng(0), talkative(backbone), SMALL.changed(guidance=2.0)
    sampling = sampling.changed(precision=setting)
    pictures = [
        [BOS, IMAGE, picture(rng, False, (4, 4)), END_IMAGE, A, IMAGE],
        [BOS, B, IMAGE],
        [BOS, *encode("a bird"), IMAGE],
    ]
    long = [[BOS, *encode("x" * n), IMAGE] for n in (70, 2, 30)]
    drawn = [same(model, one, sampling) for one in (PROMPTS, OTHERS, pictures, PROMPTS)]
    assert not torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[3])
    network, count = kept(model), Tape.made
    assert network is not None and count == 1
    same(model, long, sampling)  # more columns
    assert kept(model) is not network and Tape.made == 2
    assert torch.equal(same(model, PROMPTS, sampling), drawn[0])
    same(model, PROMPTS, sampling.changed(size=(6, 4)))
    same(model, PROMPTS[:2], sampling, keys=KEYS[:2])


def test_guidance_is_no_part_of_a_graph():
    model = talkative()
    one, other = (same(model, PROMPTS, SMALL.changed(guidance=guidance)) for guidance in (2.0, 4.0))
    assert not torch.equal(one, other) and Tape.made == 1


def test_weights_that_change_in_place_are_seen():
    model = talkative()
    before = same(model, PROMPTS, SMALL)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    assert not torch.equal(same(model, PROMPTS, SMALL), before) and Tape.made == 1


def test_weights_that_lie_elsewhere_are_captured_anew():
    model = talkative()
    same(model, PROMPTS, SMALL)
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(weight.detach() * 1.5))
    same(model, PROMPTS, SMALL)
    assert Tape.made == 2


def test_without_graphs_nothing_is_captured_or_kept():
    model = talkative()
    draw(model, PROMPTS, KEYS, SMALL, graphs=False)
    assert Tape.made == 0 and kept(model) is None


def test_a_drawing_that_stops_halfway_leaves_nothing_behind():
    model = talkative()
    expected = same(model, PROMPTS, SMALL)

    def stop(step, noised, clean):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(model, OTHERS, KEYS, SMALL, watch=stop)
    assert kept(model) is None and torch.equal(same(model, PROMPTS, SMALL), expected)


def test_numbers_that_are_not_finite_do_not_stay():
    """A drawing that overflows does not spoil the next one, whose prompt is shorter."""
    model = talkative()
    expected = same(model, PROMPTS, SMALL)
    with torch.inference_mode():
        for layer in kept(model).cache.layers:
            layer.values.fill_(float("nan"))
    assert torch.equal(same(model, PROMPTS, SMALL), expected) and Tape.made == 1


def test_a_copy_of_a_model_has_no_graphs():
    model = talkative()
    expected = same(model, PROMPTS, SMALL)
    other = copy.deepcopy(model)
    assert kept(model) is not None and kept(other) is None
    assert torch.equal(same(other, PROMPTS, SMALL), expected)


def test_what_cannot_be_captured_goes_on_without(monkeypatch):
    def fails(work, inputs):
        work(*inputs)  # as far as it came
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "Captured", fails)
    model = talkative()
    same(model, PROMPTS, SMALL.changed(guidance=2.0))
    same(model, OTHERS, SMALL.changed(guidance=2.0))


def test_a_step_that_waits_is_not_captured(monkeypatch):
    """The stand-in refuses what a GPU refuses."""
    model = talkative()
    output = model.head.output
    monkeypatch.setattr(model.head, "output", lambda h, p: output(h, p) * (1.0 if h.sum().item() else 0.0))
    same(model, PROMPTS, SMALL)
    assert Tape.made == 0


# --------------------------------------------------------------------------------------------- `Graphs` alone


def test_the_second_call_in_a_row_is_captured():
    calls, repeated = [], Graphs()

    def work(x):
        calls.append(None)
        return x * (10 * len(calls))  # what Python adds is what it was while capturing

    one = torch.ones(2)
    assert repeated("a", work, one).tolist() == [10, 10]
    assert repeated("a", work, one).tolist() == [20, 20]
    assert repeated("a", work, 3 * one).tolist() == [60, 60] and len(calls) == 2
    assert repeated("a", work, torch.ones(3)).tolist() == [30] * 3  # another shape
    for n in range(20):
        repeated(n % 2, work, one)  # never twice in a row
    assert Tape.made == 1


def test_results_are_not_overwritten():
    repeated = Graphs()
    results = [repeated("a", lambda x: x + 1, torch.full((2,), float(n))) for n in range(4)]
    assert [result.tolist() for result in results] == [[n + 1.0] * 2 for n in range(4)]


def test_there_are_few_graphs():
    repeated = Graphs()
    for n in range(20):
        for _ in range(3):
            assert repeated(n, torch.neg, torch.ones(1)).item() == -1
    assert len(repeated.made) == MOST == Tape.made


# ------------------------------------------------------------------------------------------------------ sizes


def test_large_drawings_are_not_captured(monkeypatch):
    monkeypatch.undo()
    network = Network(talkative(), PROMPTS, SMALL)
    assert network.graphs is None  # not on a GPU
    with torch.inference_mode():
        network.device = torch.device("cuda")
        assert network._is_small()
        network.cache.rows = 10**10
        assert not network._is_small()


def test_auto_is_fp32_on_a_cpu():
    assert (
        precision("auto", torch.device("cpu")) == "fp32" and precision("bf16", torch.device("cpu")) == "bf16"
    )
    model = talkative()
    one, other = (
        draw(model, PROMPTS, KEYS, SMALL.changed(precision=setting), graphs=False)
        for setting in ("auto", "fp32")
    )
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(one, other))


def test_auto_is_bf16_where_a_gpu_has_it(monkeypatch):
    from rawmm_cli.core import drawing

    for has, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(drawing, "has_bf16", lambda device, has=has: has)
        assert precision("auto", torch.device("cuda")) == expected
