"""What a person may ask of a model of masked codes: orders, painting in, variations, studio, benchmark."""

import numpy as np
import pytest
import torch
from helpers import as_loaded, tiny_backbone, tiny_masked
from PIL import Image

from rawmm_cli.codecs.subpixels import SubPixels
from rawmm_cli.config import build, presets
from rawmm_cli.core.document import Picture
from rawmm_cli.core.mask import dense
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.text_tokenizer import VOCABULARY
from rawmm_cli.profiling import bench
from rawmm_cli.sampling import session, studio
from rawmm_cli.sampling.request import Request
from rawmm_cli.system import machine
from rawmm_cli.system.errors import ConfigError

pytestmark = pytest.mark.usefixtures("one_thread")
GIVEN = torch.randint(0, 256, (3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()


@pytest.fixture(scope="module")
def loaded():
    words = ("codec.kind=subpixels", "head.kind=masked", "head.loss=bound", "train.length=128")
    torch.manual_seed(0)
    codec = SubPixels()
    model = RawModel(codec, tiny_masked(codec, 32), tiny_backbone("transformer"), dense, VOCABULARY, 32)
    with torch.no_grad():
        model.head.out.weight.normal_(0, 0.5)
    return as_loaded(model.eval(), presets.load("digits", words))


def drawn(loaded, **request):
    prompts, settings = ("seven",), {"max_text": 4, **request.pop("settings", {})}
    return [
        item.pixels
        for document in session.run(loaded, Request(prompts, settings=settings, **request))
        for item in document
        if isinstance(item, Picture)
    ]


@pytest.fixture
def mask(tmp_path):
    """A file that is white where the right half stands."""
    levels = np.zeros((8, 8), np.uint8)
    levels[:, 4:] = 255
    Image.fromarray(levels).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


@pytest.mark.parametrize("order", ["confidence", "halton", "random"])
def test_painting_in_changes_the_mask_alone(loaded, mask, order):
    settings = {"order": order, "steps": 3}
    one, other = drawn(loaded, images=(GIVEN,), mask=mask, count=2, settings=settings)
    assert torch.equal(one[:, :, :4], GIVEN[:, :, :4]) and torch.equal(other[:, :, :4], GIVEN[:, :, :4])
    assert (one[:, :, 4:] != GIVEN[:, :, 4:]).float().mean() > 0.9 and not torch.equal(one, other)


@pytest.mark.parametrize("strength", [0.001, 0.25, 1.0])
def test_a_variation_changes_the_share_that_was_asked(loaded, strength):
    (picture,) = drawn(loaded, images=(GIVEN,), strength=strength)
    changed = (picture != GIVEN).sum().item()
    asked = int(np.ceil(strength * 192))
    assert 0.9 * asked - 1 <= changed <= asked


@pytest.mark.parametrize("setting", [{"solver": "heun"}, {"grid": "uniform"}, {"rescale": 0.5}])
def test_settings_of_another_head_are_refused(loaded, setting):
    (name,) = setting
    with pytest.raises(ConfigError, match=f"--{name} is no setting of tiny, whose head is masked; leave it"):
        drawn(loaded, settings=setting)


def test_facts_of_a_picture_name_its_order(loaded):
    ready = session.prepare(loaded, Request(("a",), settings={"order": "halton", "steps": 5}))
    assert session.drawing_facts(ready.settings) == {"steps": 5, "order": "halton", "guidance": 2.0}


def test_the_studio_draws_step_by_step(loaded):
    page, lines = studio.Studio(loaded), []
    assert page.about()["steps"] == loaded.config.sample.steps
    page.draw({"prompt": "a", "guidance": 1.0, "seed": 3, "steps": 4}, lines.append)
    assert "seconds" in lines[-1] and not any("error" in line for line in lines)


def test_the_benchmark_tells_the_time_of_a_step(loaded, monkeypatch):
    monkeypatch.setattr(build, "model", lambda config, device: loaded.model)
    monkeypatch.setattr(machine, "matmul_rate", lambda *arguments: 1e11)
    monkeypatch.setattr(bench, "_seconds", lambda work, device: (work(), 0.5)[1])
    figures = bench.sample(loaded.config, torch.device("cpu"), 2)
    assert figures["steps"] == loaded.config.sample.steps and figures["solver"] is None
    assert figures["seconds_per_step"] == pytest.approx(0.5 / figures["steps"])
