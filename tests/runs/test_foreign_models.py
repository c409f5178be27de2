"""A model folder from somebody else, whose checksums fit: every field is checked before it is used."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from rawmm_cli.config.yaml_text import dump_yaml, parse_yaml
from rawmm_cli.core.text_tokenizer import train_pairs
from rawmm_cli.runs import models
from rawmm_cli.system import manifest


@pytest.fixture(scope="module")
def kept(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "model"
    models.export(tiny_run, folder, "kept")
    return folder


@pytest.fixture
def foreign(kept, tmp_path):
    """foreign(change) -> a copy of a model that `change` has altered, sealed again."""

    def make(change):
        folder = tmp_path / "home" / "model"
        shutil.copytree(kept, folder)
        change(folder)
        (folder / "MANIFEST.json").unlink()
        manifest.seal(folder)
        return folder

    return make


def sampled(rawmm, folder, *words):
    """-> (exit code, stderr); whatever happens, files appear in `out` alone."""
    home = folder.parent

    def files():
        return {path for path in home.parent.rglob("*") if home / "out" not in path.parents} - {home / "out"}

    before = files()
    code, out, err = rawmm("sample", "seven", "--model", folder, "--out", home / "out", "--json", *words)
    assert files() == before and (code == 0) == bool(out)
    return code, err


FACTS = {
    "name that leads elsewhere": {"name": "../../x"},
    "absolute name": {"name": "/tmp/x"},
    "name of a hidden file": {"name": ".x"},
    "name with a line end": {"name": "x\n"},
    "name with an escape": {"name": "a\x1b[31m"},
    "long name": {"name": "x" * 101},
    "empty name": {"name": ""},
    "name that is no text": {"name": ["x"]},
    "documents in words": {"documents": "many"},
    "documents below zero": {"documents": -1},
    "documents without end": {"documents": 10**400},
    "documents true": {"documents": True},
    "seconds that are no number": {"seconds": math.nan},
    "seconds in a list": {"seconds": [1]},
    "data that is a list": {"data": [1]},
    "data missing": {"data": None},
    "parameters in words": {"parameters": "x"},
    "sets of numbers": {"sets": [1]},
    "sets without counts": {"sets": [{"name": "x", "count": {"train": "1"}}]},
    "evaluation in words": {"evaluation": "good"},
    "machine in words": {"machine": "big"},
    "format in words": {"format": "1"},
}


@pytest.mark.parametrize("name", FACTS)
def test_facts(name, foreign, rawmm):
    def change(folder):
        facts = json.loads((folder / "model.json").read_text()) | FACTS[name]
        (folder / "model.json").write_text(json.dumps(facts))

    code, err = sampled(rawmm, foreign(change))
    assert code == 4 and err.count("\n") == 1 and "model.json is damaged (" in err
    assert next(iter(FACTS[name])) in err and "export the run again" in err


@pytest.mark.parametrize("text", ["[]", "1", "null", "{", '"x"', "[" * 100_000])
def test_facts_that_are_no_mapping(text, foreign, rawmm):
    code, err = sampled(rawmm, foreign(lambda folder: (folder / "model.json").write_text(text)))
    assert code == 4 and err.count("\n") == 1 and "model.json is damaged" in err


SETTINGS = {
    "data.size": (10**6, 4),
    "codec.patch": (10**9, 4),
    "backbone.depth": (1_000_000, 4),
    "backbone.width": (900_000, 4),
    "backbone.expansion": (900_000, 4),
    "head.bottleneck": (10**14, 4),
    "sample.context": (10**12, 4),
    "sample.max_text": (10**12, 4),
    "sample.steps": (10**9, 4),
    "sample.guidance": (math.nan, 4),
    "data.set": ("../x", 4),
    "data.mix": ({"../x": 0.1}, 4),
    "text_tokenizer.vocabulary": (10**9, 4),
    "train.seed": (10**30, 4),
    "train.nonsense": (1, 4),
}


@pytest.mark.parametrize("key", SETTINGS)
def test_settings(key, foreign, rawmm):
    value, expected = SETTINGS[key]

    def change(folder):
        settings = parse_yaml((folder / "config.yaml").read_text(), "")
        part, name = key.split(".")
        settings[part][name] = value
        (folder / "config.yaml").write_text(dump_yaml(settings))

    code, err = sampled(rawmm, foreign(change))
    assert code == expected and err.count("\n") == 1, err


def test_weights(foreign, rawmm):
    """Of another shape, of another type, not finite, with names too many: never drawn with."""

    def weights(change):
        def altered(folder):
            tensors = load_file(folder / "weights.safetensors")
            name = sorted(name for name, value in tensors.items() if value.ndim == 2)[0]
            tensors |= change(name, tensors[name])
            save_file(tensors, folder / "weights.safetensors")

        folder = foreign(altered)
        code, err = sampled(rawmm, folder)
        shutil.rmtree(folder.parent)
        assert code == 4 and err.count("\n") == 1, err
        return err

    assert "not finite" in weights(lambda name, value: {name: value * math.nan})
    assert "not finite" in weights(lambda name, value: {name: torch.where(value > 0, math.inf, value)})
    assert "torch.float16" in weights(lambda name, value: {name: value.half()})
    assert "torch.int8" in weights(lambda name, value: {name: value.to(torch.int8)})
    assert "do not fit the settings" in weights(lambda name, value: {name: value[:-1].contiguous()})
    assert "do not fit the settings" in weights(lambda name, value: {"more": value.clone()})


def test_a_tokenizer_that_is_not_ours(foreign, rawmm):
    stored = json.loads(train_pairs(["seven seven seven"], 264).stored)

    def tokenizer(**parts):
        def change(folder):
            settings = parse_yaml((folder / "config.yaml").read_text(), "")
            settings["text_tokenizer"] = {"kind": "bpe", "vocabulary": 261}
            (folder / "config.yaml").write_text(dump_yaml(settings))
            (folder / "tokenizer.json").write_text(json.dumps(stored | parts))

        folder = foreign(change)
        code, err = sampled(rawmm, folder)
        shutil.rmtree(folder.parent)
        assert code == 4 and err.count("\n") == 1, err
        return err

    # The weights are those of bytes, so they are what is wrong at last.
    assert "do not fit the settings" in tokenizer()


@pytest.mark.parametrize(
    "parts",
    [
        {"padding": {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None}
         | {"pad_id": 0, "pad_type_id": 0, "pad_token": "a"}},
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"added_tokens": [{"id": 0, "content": "!", "single_word": False, "lstrip": False, "rstrip": False}
                          | {"normalized": False, "special": True}]},
    ],
)  # fmt: skip
def test_a_tokenizer_that_pads_cuts_or_changes_text(parts):
    from rawmm_cli.core.text_tokenizer import BytePairs
    from rawmm_cli.system.errors import CheckpointError

    stored = json.loads(train_pairs(["seven seven seven"], 264).stored)
    assert BytePairs(json.dumps(stored)).vocabulary == 264
    with pytest.raises(CheckpointError, match="not a byte-level BPE of rawmm"):
        BytePairs(json.dumps(stored | parts))


def test_more_tokens_than_the_settings_say(tiny_run, tmp_path):
    from rawmm_cli.runs import loading
    from rawmm_cli.system.errors import CheckpointError

    (tmp_path / "tokenizer.json").write_text(train_pairs(["seven seven seven"], 264).stored)
    config = loading.run_config(tiny_run)
    config = config.model_copy(
        update={"text_tokenizer": config.text_tokenizer.model_copy(update={"kind": "bpe", "vocabulary": 262})}
    )
    with pytest.raises(CheckpointError, match="has 264 tokens; allowed by the settings: 262"):
        loading.text_tokenizer(tmp_path, config, None)


def test_a_card_of_whatever_evaluation(foreign, tmp_path):
    """`tune-sampler` writes the card anew."""
    grids = {"1": {"settings": {"solver": "euler", "grid": [1, 0], "interval": [0, 1]}}}
    grids["1"] |= {"error": 1.0, "before": 1.0, "pictures": 2, "reference": 200}

    def change(folder):
        facts = json.loads((folder / "model.json").read_text())
        facts["evaluation"] = {"text_to_image": {"accuracy": []}, "held_out": 3}
        (folder / "model.json").write_text(json.dumps(facts))

    folder = foreign(change)
    models.store_tuned(folder, grids)
    assert "another shape" in (folder / "README.md").read_text() and models.load(folder, "cpu").tuned == grids


def test_a_codec_of_far_more_weights_than_are_stored(tmp_path):
    from rawmm_cli.config import build, presets
    from rawmm_cli.system.errors import CheckpointError, OutOfMemoryError

    config = presets.load("fsq-f8", ["codec.width=8192"])
    with pytest.raises(CheckpointError, match="do not fit the settings: these describe"):
        build.codec(config, stored=100_000)
    with pytest.raises(OutOfMemoryError, match="codec.width or codebook"):
        build.codec(presets.load("fsq-f8", ["codec.width=8192", "codec.blocks=1000"]))


def test_a_line_about_weights_is_one_that_can_be_read(tiny_run, tmp_path):
    from rawmm_cli.runs import loading
    from rawmm_cli.system.errors import CheckpointError

    model = models.load(tiny_run, "cpu").model
    with pytest.raises(CheckpointError) as caught:
        loading.load_weights(model, {}, tmp_path)
    assert "Missing key" in str(caught.value) and len(str(caught.value)) < 600 + len(str(tmp_path))


@pytest.mark.parametrize("preset", ["tiny", "digits", "fsq-f8"])
def test_a_model_of_a_million_layers_is_refused_before_it_is_built(preset, rawmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    key = "codec.blocks" if preset == "fsq-f8" else "backbone.depth"
    for words in (["train"], ["train", "--dry-run"]):
        code, out, err = rawmm(*words, "--preset", preset, f"{key}=1000000")
        assert (code, out) == (2, "") and f"{key} = 1000000 is not allowed" in err and "1000" in err
