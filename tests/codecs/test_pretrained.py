"""Ready-made codecs, saved in the hub's layout with random weights: through our tokens and back is their own
forward."""

import json
import math
import shutil

import numpy as np
import pytest
import torch

from rawmm_cli.codecs import adapter, pretrained
from rawmm_cli.runs.codec import open_codec
from rawmm_cli.system.errors import CheckpointError, ConfigError

diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("one_thread")
CPU, BLOCKS = (
    torch.device("cpu"),
    {
        "block_out_channels": (8, 8, 8),
        "norm_num_groups": 4,
        "latent_channels": 3,
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
    },
)
EMU3 = {
    "codebook_size": 32,
    "embed_dim": 4,
    "base_channels": 32,
    "channel_multiplier": [1, 1],
    "num_res_blocks": 1,
    "attn_resolutions": [1],
    "hidden_size": 32,
    "num_attention_heads": 1,
    "temporal_downsample_factor": 2,
}
JANUS = {
    "embed_dim": 4,
    "num_embeddings": 32,
    "latent_channels": 32,
    "base_channels": 32,
    "channel_multiplier": [1, 1],
    "num_res_blocks": 1,
    "num_patches": 8,
}


def images(count=2, height=16, width=16):
    return torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    )


def spread_codes(book):
    """Random codebooks of a fresh model lie at one place: spread them, so that several codes are used."""
    torch.nn.init.normal_(book.weight)


def vq(**more):
    model = diffusers.VQModel(**BLOCKS | more, num_vq_embeddings=20, vq_embed_dim=3)
    spread_codes(model.quantize.embedding)
    return model


def emu3():
    return transformers.Emu3VQVAE(transformers.Emu3VQVAEConfig(**EMU3))


def janus():
    return transformers.JanusVQVAE(transformers.JanusVQVAEConfig(**JANUS))


def emu3_forward(model, pixels):
    tokens = model.encode(pixels, torch.tensor([[16, 16]] * len(pixels))).image_tokens
    return model.decode(torch.stack(tokens))


# name -> (model, its own way through, length and vocabulary of 16 x 16 pixels)
MODELS = {
    "vq": (vq, lambda model, x: model(x).sample, 16, 20),
    "vq, looked up": (lambda: vq(lookup_from_codebook=True), lambda model, x: model(x).sample, 16, 20),
    "vq, spatial": (
        lambda: vq(norm_type="spatial", block_out_channels=(32,) * 3),
        lambda model, x: model(x).sample,
        16,
        20,
    ),
    "kl": (lambda: diffusers.AutoencoderKL(**BLOCKS), lambda model, x: model(x).sample, 16, None),
    "tiny": (
        lambda: diffusers.AutoencoderTiny(
            encoder_block_out_channels=(8, 8, 8),
            decoder_block_out_channels=(8, 8, 8),
            num_encoder_blocks=(1, 1, 1),
            num_decoder_blocks=(1, 1, 1),
        ),
        lambda model, x: model(x).sample,
        64,
        256,
    ),
    "emu3": (emu3, emu3_forward, 64, 32),
    "janus": (janus, lambda model, x: model(x).decoded_pixel_values, 64, 32),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """name -> (folder, model)."""
    made = {}

    def get(name):
        if name not in made:
            torch.manual_seed(0)
            folder, model = tmp_path_factory.mktemp("hub") / "vae", MODELS[name][0]().eval()
            model.save_pretrained(folder, safe_serialization=True)
            made[name] = folder, model
        return made[name]

    return get


@pytest.mark.parametrize("name", MODELS)
def test_through_tokens_and_back_is_the_models_own_forward(name, saved):
    _, forward, length, vocabulary = MODELS[name]
    folder, model = saved(name)
    codec = open_codec(f"hf:{folder}", CPU)
    tokens = codec.encode(images())
    assert (codec.length(16, 16), codec.vocabulary, codec.discrete) == (length, vocabulary, name != "kl")
    if codec.discrete:
        assert (
            tokens.shape == (2, codec.tokens(16, 16), codec.codes)
            and tokens.dtype == torch.long
            and len(tokens.unique()) > 1
        )
        assert (
            0 <= tokens.min()
            and tokens.max() < vocabulary
            and codec.bits(16, 16) == length * math.log2(vocabulary)
        )
    else:
        assert tokens.shape == (2, length, 3) and tokens.dtype == torch.float32 and codec.bits(16, 16) is None
    with torch.no_grad():
        own = forward(model, images().float() / 127.5 - 1)
    expected = ((own.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    drawn = codec.decode(tokens, codec.grid(16, 16)[0])
    assert drawn.dtype == torch.uint8 and (drawn.int() - expected.int()).abs().max() <= 1
    assert not torch.equal(drawn[0], drawn[1])
    assert not codec.training and not any(p.requires_grad for p in codec.parameters())


@pytest.mark.parametrize("name", ["vq", "kl", "tiny", "emu3"])
def test_pictures_that_are_not_square(name, saved):
    codec = open_codec(f"hf:{saved(name)[0]}", CPU)
    shown = images(1, 16, 32)
    rows, columns = codec.grid(16, 32)
    assert columns == 2 * rows and codec.decode(codec.encode(shown), rows).shape == shown.shape


@pytest.mark.parametrize(
    "name, told",
    [
        ("vq", "15x16 pixels does not divide into positions of 4"),
        ("janus", "15x16 pixels does not fit: this codec reads 16x16 alone"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(name, told, saved):
    with pytest.raises(ValueError, match=told):
        open_codec(f"hf:{saved(name)[0]}", CPU).encode(images(1, 15, 16))


def test_pixels_are_normalised_as_the_model_says(saved, tmp_path):
    folder = shutil.copytree(saved("vq")[0], tmp_path / "vae")
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.25, 0.2]})
    )
    codec, model = pretrained.load(str(folder), CPU), saved("vq")[1]
    mean, spread = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1), torch.tensor([0.5, 0.25, 0.2]).view(3, 1, 1)
    with torch.no_grad():
        own = model((images() / 255 - mean) / spread).sample * spread + mean
    expected = (255 * own.clamp(0, 1)).round().to(torch.uint8)
    assert (codec.decode(codec.encode(images()), 4).int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("name, kind", [("janus", "janus"), ("emu3", "emu3")])
def test_the_part_of_a_model_that_also_writes(name, kind, saved, tmp_path):
    """A whole model in the hub's layout: several files, the codec's weights under model.vqmodel."""
    from safetensors.torch import load_file, save_file

    folder, weights = saved(name)[0], {}
    for key, value in load_file(folder / "model.safetensors").items():
        weights[f"model.vqmodel.{key}"] = value
    keys = sorted(weights)
    (tmp_path / "whole").mkdir()
    save_file(
        {key: weights[key] for key in keys[::2]}, tmp_path / "whole" / "model-00001-of-00002.safetensors"
    )
    save_file(
        {key: weights[key] for key in keys[1::2]} | {"model.text_model.x": torch.zeros(3)},
        tmp_path / "whole" / "model-00002-of-00002.safetensors",
    )
    config = {"model_type": kind, "vq_config": json.loads((folder / "config.json").read_text())}
    (tmp_path / "whole" / "config.json").write_text(json.dumps(config))
    one, other = (pretrained.load(str(path), CPU) for path in (folder, tmp_path / "whole"))
    assert torch.equal(one.encode(images()), other.encode(images()))


# ----------------------------------------------------------------------------------------------------- errors


def refused(name):
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        pretrained.load(str(name), CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_used_is_said_in_one_line(saved, tmp_path):
    assert "is no folder; give one with a config.json" in refused(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "its config.json is missing or no settings" in refused(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text('{"_class_name": "AutoencoderDC"}')
    assert (
        "is of class AutoencoderDC; allowed: VQModel, AutoencoderKL, AutoencoderTiny, Emu3VQVAE, "
        "JanusVQVAE; for any" in refused(tmp_path / "empty")
    )
    assert "is not a name; allowed: hf:OWNER/NAME" in refused("taming")
    for name in ("vq", "janus"):
        folder = shutil.copytree(saved(name)[0], tmp_path / name)
        (file,) = folder.glob("*.safetensors")
        file.write_bytes(file.read_bytes()[:-40])
        assert f"cannot be loaded as {'VQModel' if name == 'vq' else 'JanusVQVAE'}: " in refused(folder)
        file.unlink()
        assert "cannot be loaded as" in refused(folder)


def test_what_is_not_installed_is_named(saved, monkeypatch):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    assert refused(saved("vq")[0]) == (
        "ready-made codecs need 'diffusers', which is not installed; pip install 'rawmm[pretrained]'"
    )


def test_a_repository_is_fetched_without_pickles(saved, monkeypatch):
    asked = {}

    def snapshot_download(repo, allow_patterns):
        asked[repo] = allow_patterns
        return str(saved("vq")[0].parent)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert pretrained.load("amused/amused-256/vae", CPU).vocabulary == 20
    patterns = asked["amused/amused-256"]
    assert patterns == [
        "vae/config.json",
        "vae/preprocessor_config.json",
        "vae/*.safetensors",
        "vae/*.safetensors.index.json",
    ]
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *rest, **more: 1 / 0)
    assert "cannot be fetched (division by zero); check the name and the network" in refused("a/b")


# --------------------------------------------------------------------------------------------------- adapters


ADAPTER = """
class Halves:
    vocabulary = 256
    def encode(self, images):
        return images[:, :, ::2, ::2].flatten(1).long()
    def decode(self, tokens, rows):
        small = tokens.view(len(tokens), 3, rows, -1).byte()
        return small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    def grid(self, height, width):
        return height // 2, width // 2
    def length(self, height, width):
        return 3 * height * width // 4
class Short:
    vocabulary = None
    def length(self, height, width):
        return 5
def broken():
    raise KeyError("no weights")
"""


def test_an_adapter_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "my_codecs.py").write_text(ADAPTER)
    monkeypatch.chdir(tmp_path)
    codec = open_codec("python:my_codecs:Halves", CPU)
    shown = images()
    assert codec.discrete and codec.bits(16, 16) == 8 * 192 and codec.grid(16, 16) == (8, 8)
    halved = shown[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(codec.decode(codec.encode(shown), 8), halved)
    for name, told in (
        ("my_codecs:Short", "lacks encode, decode; needed: encode, decode, length, vocabulary"),
        ("my_codecs:broken", "cannot be made \\(KeyError: 'no weights'\\)"),
        ("my_codecs", "is not a name"),
        ("nowhere_at_all:x", "cannot be made \\(ModuleNotFoundError"),
    ):
        with pytest.raises(ConfigError, match=told):
            adapter.load(name, CPU)


def test_defaults_of_an_adapter():
    class Numbers:
        vocabulary = None
        encode = decode = staticmethod(lambda *given: None)

        def length(self, height, width):
            return height * width

    codec = adapter.Adapted(Numbers())
    assert (codec.discrete, codec.grid(2, 3), codec.bits(2, 3)) == (False, (1, 6), None)


def test_a_name_without_a_prefix_is_a_run(tmp_path):
    with pytest.raises(CheckpointError, match="is not a run"):
        open_codec(str(tmp_path), CPU)
