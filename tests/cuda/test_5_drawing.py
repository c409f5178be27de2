"""Steps that are CUDA graphs, on a card: the pictures are those of steps that are not, and graphs that are
kept see other prompts and other weights. On a CPU tapes take the place of graphs."""

import gc
import weakref

import pytest
import tapes
import torch
from combinations import made

from rawmm_cli.core import graphs
from rawmm_cli.core.denoising import Drawing
from rawmm_cli.core.drawing import Network, Sampling, draw
from rawmm_cli.core.graphs import Captured
from rawmm_cli.core.text_tokenizer import BOS, IMAGE, encode

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("one_thread", "tapes_on_a_cpu")]
KEYS = [5, 6, 7]
PROMPTS = [[BOS, *encode("bird" * n), IMAGE] for n in range(3)]
OTHERS = [[BOS, *encode("a red house" * n), IMAGE] for n in (2, 1, 0)]
SAMPLING = Sampling(size=(4, 8), guidance=2.0, drawing=Drawing(steps=5))
failed = []  # graphs whose capture failed must live on
every_precision = pytest.mark.parametrize("precision", ["fp32", "bf16"])


@pytest.fixture
def tapes_on_a_cpu(card, monkeypatch):
    if card.type == "cpu":
        tapes.use(monkeypatch)


@pytest.fixture(params=["gau", "transformer"])
def model(request, card):
    return made(("clean", request.param, "raw")).to(card).eval()


def pixels(model, prompts=PROMPTS, sampling=SAMPLING, **settings):
    drawn = draw(model, prompts, KEYS[: len(prompts)], sampling, **settings)
    return torch.stack([picture.pixels for picture in drawn]).int()


def captured(model):
    """The graphs that a model keeps, all of them real."""
    made = list(vars(model)["network"].graphs.made.values())
    assert made and all(isinstance(one, (Captured, tapes.Tape)) for one in made), "a capture failed"
    return made


@every_precision
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_graph_says_what_the_step_says(model, card, precision, guidance):
    """Outputs of the network at times and inputs that change, to 1e-5 of their size."""
    sampling = SAMPLING.changed(precision=precision, guidance=guidance)
    noise, outputs = torch.randn(6, 3, 8, model.codec.values, device=card), []
    with torch.inference_mode():
        for graphs in (False, True):
            network = Network(model, PROMPTS, sampling, graphs)
            network.begin(PROMPTS, sampling)
            steps = [(network.predict(z, 1 - n / 6), n) for n, z in enumerate(noise)]
            outputs.append(torch.stack([step.guided for step, _ in steps]))
    assert len(network.graphs.made) == 1 and outputs[0].std() > 0.01
    assert ((outputs[1] - outputs[0]).abs().max() / outputs[0].abs().max()).item() < 1e-5
    assert (outputs[0][0] - outputs[0][1]).abs().max() > 0.01


@every_precision
@pytest.mark.parametrize("solver", ["euler", "heun", "ancestral", "dpm2m"])
@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.3, 0.7)])
def test_pictures_are_those_without_graphs(model, precision, solver, interval):
    sampling = SAMPLING.changed(precision=precision, solver=solver, interval=interval, steps=9)
    expected = pixels(model, sampling=sampling, graphs=False)
    for _ in range(3):  # captured while drawing; then with what was kept
        assert (pixels(model, sampling=sampling) - expected).abs().max() <= 1
    assert len(captured(model)) == (1 if interval[0] == 0 else 2)


@every_precision
def test_the_same_drawing_twice_is_equal_to_the_bit(model, precision):
    sampling = SAMPLING.changed(precision=precision)
    first = pixels(model, sampling=sampling)
    assert torch.equal(pixels(model, sampling=sampling), first)
    assert torch.equal(pixels(model, sampling=sampling), first)


def test_other_prompts_do_not_disturb_each_other(model):
    expected = [pixels(model, prompts, graphs=False) for prompts in (PROMPTS, OTHERS)]
    for number in (0, 1, 0, 0, 1):
        assert (pixels(model, (PROMPTS, OTHERS)[number]) - expected[number]).abs().max() <= 1
    assert not torch.equal(*expected) and len(captured(model)) == 1
    pixels(model, PROMPTS[:1])  # another shape
    assert (pixels(model) - expected[0]).abs().max() <= 1


def test_weights_that_change_are_seen(model):
    pixels(model, sampling=SAMPLING.changed(precision="bf16"))
    before = captured(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.3)
    sampling = SAMPLING.changed(precision="bf16")
    expected = pixels(model, sampling=sampling, graphs=False)
    assert (pixels(model, sampling=sampling) - expected).abs().max() <= 1
    assert captured(model) == before, "used again"


def test_a_model_that_goes_takes_its_graphs_along(card):
    model = made(("clean", "gau", "raw")).to(card)
    pixels(model)
    network = weakref.ref(vars(model)["network"])
    assert network() is not None
    del model
    gc.collect()
    assert network() is None


def test_a_capture_that_fails_changes_nothing(model, card, monkeypatch):
    """The step waits for the GPU, which no graph can do."""
    monkeypatch.setattr(graphs, "FAILED", failed)
    expected, output = pixels(model, graphs=False), model.head.output

    def waits(hidden, pictures):
        return output(hidden, pictures) * (1.0 if hidden.sum().item() != 0 else 0.0)

    monkeypatch.setattr(model.head, "output", waits)
    for _ in range(2):
        assert (pixels(model) - expected).abs().max() <= 1
    assert not isinstance(next(iter(vars(model)["network"].graphs.made.values())), (Captured, tapes.Tape))
    monkeypatch.setattr(model.head, "output", output)
    assert (pixels(model) - expected).abs().max() <= 1
    if card.type == "cuda":
        assert failed and torch.cuda.current_stream() == torch.cuda.default_stream()
