"""Sessions: what is drawn is what the generator draws by hand, alone or among others, whoever listens."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image

from rawmm_cli.config import build
from rawmm_cli.core import generate as generator
from rawmm_cli.core.document import Picture
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, IMAGE, encode
from rawmm_cli.runs import models
from rawmm_cli.sampling import session
from rawmm_cli.sampling.prompt import passages
from rawmm_cli.sampling.request import Request
from rawmm_cli.system.errors import ConfigError, DataError
from rawmm_cli.system.seeds import key

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def loaded(tiny_run):
    return models.load(tiny_run, torch.device("cpu"))


def plain(documents) -> list:
    """Documents whose pictures can be compared."""
    return [
        [item.pixels.tolist() if isinstance(item, Picture) else item for item in document]
        for document in documents
    ]


def noise(side=8) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, side, side), dtype=np.uint8))


def test_a_session_is_the_generator_by_hand(loaded):
    """Two prompts, two samples of each: documents, keys and settings, then what stands after the prompt."""
    prompts = [[BOS, *encode(word)] for word in ("seven", "seven", "two", "two")]
    keys = [key(5, "sample", n) for n in range(4)]
    settings = build.sampling(loaded.config, temperature=1.0, max_pictures=1, steps=3)
    whole = generator.generate(loaded.model, prompts, keys, settings)
    added = session.run(loaded, Request(("seven", "two"), count=2, seed=5, settings={"steps": 3}))
    assert plain(added) == plain(document[len(prompt) :] for prompt, document in zip(prompts, whole))


def test_a_sample_is_the_same_in_any_chunk(loaded, monkeypatch):
    request = Request(("seven",), count=5)
    together = plain(session.run(loaded, request))
    monkeypatch.setattr(generator, "CHUNK", 2)
    assert plain(session.run(loaded, request)) == together


@pytest.mark.parametrize(
    "captions, kinds, cause",
    [
        (None, ["nothing: a picture is drawn"], "from pictures without captions"),
        ({"different": 10}, ["a caption or its beginning"], "with data.read = 0"),
    ],
)
def test_a_model_that_never_learned_to_read_says_so(loaded, captions, kinds, cause):
    blind = replace(loaded, seen={"captions": captions, "kinds": kinds})
    request = Request(images=(noise(),), task="caption")
    with pytest.raises(ConfigError, match=f"cannot read pictures: it has learned {cause}; leave out --task"):
        session.prepare(blind, request)
    assert session.prepare(replace(loaded, seen={}), request).prompts  # nothing is known: it is tried


def test_streams_have_random_numbers_of_their_own(loaded):
    one, other = (session.prepare(loaded, Request(stream=stream)).keys for stream in ("sample", "evaluate"))
    assert one == [key(0, "sample", 0)] and other == [key(0, "evaluate", 0)]


def test_pictures_come_from_files_or_from_memory(loaded, tmp_path):
    Image.fromarray(noise().numpy().transpose(1, 2, 0)).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    requests = (
        Request((f"{{image:{path}}}",), task="caption"),
        Request(images=(path,), task="caption"),
        Request(((noise(),),), task="caption"),
    )
    prompts = [session.prepare(loaded, request).prompts for request in requests]
    assert plain(prompts[0]) == plain(prompts[1]) == plain(prompts[2])
    assert plain(prompts[0])[0] == [BOS, IMAGE, noise().tolist(), END_IMAGE]
    assert len({str(session.run(loaded, request)) for request in requests}) == 1


def test_pieces_are_taken_as_they_are(loaded):
    """A caption of a data set may hold the letters that name a picture in a prompt."""
    (prompt,) = session.prepare(loaded, Request((("{image:a.png}",),))).prompts
    assert prompt == [BOS, *encode("{image:a.png}")]


def test_a_picture_that_does_not_divide(loaded):
    with pytest.raises(DataError, match="does not divide into patches"):
        session.prepare(loaded, Request(images=(noise(10),), task="caption"))


def test_listeners_hear_all_text_since_the_last_picture(loaded, monkeypatch):
    """Of each sample by its number, through chunks; a character of several bytes once it is whole."""
    picture = Picture(noise(), False)
    tokens = [*encode("aé"), IMAGE, picture, END_IMAGE, *encode("b")]

    def generate(model, prompts, keys, settings, listen, watch):
        for item in tokens:
            if item != END_IMAGE:
                for number in range(len(prompts)):
                    listen(number, item)
        return [[*prompt, *tokens] for prompt in prompts]

    monkeypatch.setattr(generator, "generate", generate)
    monkeypatch.setattr(generator, "CHUNK", 2)
    heard = []
    added = session.run(loaded, Request(count=3), lambda number, item: heard.append((number, item)))
    assert [item for number, item in heard if number == 2] == ["a", "aé", "aé", picture, "b"]
    assert [number for number, item in heard if item is picture] == [0, 1, 2]
    assert added == [tokens] * 3


def test_passages_of_a_document():
    picture, other = noise(), noise(4)
    items = [
        *encode("one"),
        IMAGE,
        Picture(picture, False),
        END_IMAGE,
        IMAGE,
        Picture(other, False),
        END_IMAGE,
    ]
    tokenizer = type("Tokenizer", (), {"decode": staticmethod(generator_text)})
    assert passages(tokenizer, [*items, *encode(" two")]) == ["one", picture, other, " two"]
    assert passages(tokenizer, []) == []


def generator_text(tokens: list[int]) -> str:
    return bytes(token for token in tokens if token < 256).decode()


def test_painting_begins_inside_the_picture(loaded):
    """The prompt opens the picture, and the canvas is drawn in its own size."""
    ready = session.prepare(loaded, Request(("two",), images=(noise(12),), strength=0.5, count=2))
    assert ready.prompts == [[BOS, *encode("two"), IMAGE]] * 2
    assert (ready.settings.size, ready.settings.learned) == ((12, 12), (8, 8))
    assert (ready.canvas.strength, ready.canvas.mask) == (0.5, None)
    for picture, end in ready.run():
        assert picture.pixels.shape == (3, 12, 12) and end == END_IMAGE


# --------------------------------------------------------------------------------------------------- settings


STORED = {"3": {"settings": {"solver": "ab2", "grid": [1.0, 0.5, 0.2, 0.0], "interval": [0.1, 1.0]}}}


@pytest.mark.parametrize(
    "choices, solver, grid, interval",
    [
        ({}, "euler", "uniform", (0.0, 1.0)),
        ({"steps": 3}, "ab2", (1.0, 0.5, 0.2, 0.0), (0.1, 1.0)),
        ({"steps": 3, "guidance": 3.0}, "ab2", (1.0, 0.5, 0.2, 0.0), (0.1, 1.0)),
        ({"steps": 3, "grid": "tuned"}, "ab2", (1.0, 0.5, 0.2, 0.0), (0.1, 1.0)),
        ({"steps": 3, "grid": "tuned", "solver": "heun"}, "heun", (1.0, 0.5, 0.2, 0.0), (0.1, 1.0)),
        ({"steps": 3, "grid": "shifted"}, "euler", "shifted", (0.0, 1.0)),
        ({"steps": 3, "solver": "heun"}, "heun", "uniform", (0.0, 1.0)),
        ({"steps": 4}, "euler", "uniform", (0.0, 1.0)),
    ],
)
def test_the_model_then_what_was_tuned_then_the_request(loaded, choices, solver, grid, interval):
    settings = session.settings_for(replace(loaded, tuned=STORED), Request(settings=choices))
    drawing = settings.drawing
    assert (drawing.solver, drawing.grid, drawing.interval) == (solver, grid, interval)
    assert drawing.steps == choices.get("steps", 10) and settings.guidance == choices.get("guidance", 2.0)


def test_a_setting_that_the_head_does_not_have(loaded, monkeypatch):
    """A head with settings of its own, which has no solver."""
    monkeypatch.setattr(build, "_drawing", lambda config: Shuffled())
    assert session.settings_for(loaded, Request(settings={"steps": 3})).drawing == Shuffled(3)
    with pytest.raises(
        ConfigError, match="--solver is no setting of tiny, whose head is diffusion; leave it"
    ):
        session.prepare(loaded, Request(settings={"solver": "heun"}))


@dataclass(frozen=True)
class Shuffled:
    steps: int = 10


def test_a_tuned_grid_that_is_not_there(loaded):
    request = Request(settings={"steps": 4, "grid": "tuned"})
    with pytest.raises(ConfigError, match="no tuned grid for 4 steps \\(it has: 3\\)"):
        session.prepare(replace(loaded, tuned=STORED), request)


@pytest.mark.parametrize(
    "request_, temperature, pictures",
    [
        (Request(), 1.0, 1),
        (Request(("{image:a.png}",)), 0.0, 1),
        (Request(images=("a.png",), task="caption"), 0.0, 0),
        (
            Request(images=("a.png",), task="caption", settings={"temperature": 0.5, "max_pictures": 2}),
            0.5,
            2,
        ),
    ],
)
def test_reading_is_greedy_and_captions_draw_nothing(loaded, request_, temperature, pictures):
    settings = session.settings_for(loaded, request_)
    assert (settings.temperature, settings.max_pictures) == (temperature, pictures)
