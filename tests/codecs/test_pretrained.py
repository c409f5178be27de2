"""Ready-made codecs, saved in the hub's layout with random weights: a round trip through our tokens equals
their own `forward`, and for Janus that of the original."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

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
    """Spread the codes of a fresh model, which all but coincide, so that several of them are used."""
    torch.nn.init.normal_(book.weight)


def vq(**more):
    model = diffusers.VQModel(**BLOCKS | more, num_vq_embeddings=20, vq_embed_dim=3)
    spread_codes(model.quantize.embedding)
    return model


def dc():
    return diffusers.AutoencoderDC(
        latent_channels=3,
        attention_head_dim=8,
        encoder_block_types=("ResBlock",) * 3,
        decoder_block_types=("ResBlock",) * 3,
        encoder_block_out_channels=(12, 12, 24),
        decoder_block_out_channels=(12, 12, 24),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
    )


def emu3():
    return transformers.Emu3VQVAE(transformers.Emu3VQVAEConfig(**EMU3))


def janus():
    return transformers.JanusVQVAE(transformers.JanusVQVAEConfig(**JANUS))


def emu3_forward(model, pixels):
    tokens = model.encode(pixels, torch.tensor([[16, 16]] * len(pixels))).image_tokens
    return model.decode(torch.stack(tokens))


def janus_tokens(model, pixels):
    """Reference: the original's quantizer (deepseek-ai/Janus, vq_model.py), which normalises latents and
    codes and takes the least squared distance. transformers 5.23 normalises in `decode` alone."""
    z = model.quant_conv(model.encoder(pixels)).permute(0, 2, 3, 1)
    z, book = (
        F.normalize(z, p=2, dim=-1).flatten(0, 2),
        F.normalize(model.quantize.embedding.weight, p=2, dim=-1),
    )
    distances = z.square().sum(1, keepdim=True) + book.square().sum(1) - 2 * z @ book.T
    return distances.argmin(1).view(len(pixels), -1)


# name -> (model, its own round trip, length and vocabulary of 16 x 16 pixels)
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
    "flux2": (lambda: diffusers.AutoencoderKLFlux2(**BLOCKS), lambda model, x: model(x).sample, 16, None),
    "dc": (dc, lambda model, x: model(x).sample, 16, None),
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
    "janus": (janus, lambda model, x: model.decode(janus_tokens(model, x)), 64, 32),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A function of a name -> (folder, model)."""
    models = {}

    def get(name):
        if name not in models:
            torch.manual_seed(0)
            folder, model = tmp_path_factory.mktemp("hub") / "vae", MODELS[name][0]().eval()
            model.save_pretrained(folder, safe_serialization=True)
            models[name] = folder, model
        return models[name]

    return get


@pytest.mark.parametrize("name", MODELS)
def test_a_round_trip_through_tokens_is_the_models_own_forward(name, saved):
    _, forward, length, vocabulary = MODELS[name]
    folder, model = saved(name)
    codec = open_codec(f"hf:{folder}", CPU)
    tokens = codec.encode(images())
    assert (codec.length(16, 16), codec.vocabulary, codec.discrete) == (
        length,
        vocabulary,
        name not in ("kl", "flux2", "dc"),
    )
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
    decoded = codec.decode(tokens, codec.grid(16, 16)[0])
    assert decoded.dtype == torch.uint8 and (decoded.int() - expected.int()).abs().max() <= 1
    assert not torch.equal(decoded[0], decoded[1])
    assert not codec.training and not any(p.requires_grad for p in codec.parameters())


@pytest.mark.parametrize("shortest", [1, 0.25])
def test_janus_takes_the_code_nearest_in_direction(shortest, tmp_path):
    """Codes of uneven lengths: what is decoded is a direction, so the nearest direction is the token."""
    torch.manual_seed(0)
    model = janus().eval()
    lengths = torch.linspace(shortest, 2 - shortest, 32)[:, None]
    with torch.no_grad():
        model.quantize.embedding.weight.copy_(F.normalize(torch.randn(32, 4), dim=-1) * lengths)
    model.save_pretrained(tmp_path / "janus", safe_serialization=True)
    codec, pixels = open_codec(f"hf:{tmp_path / 'janus'}", CPU), images()
    tokens = codec.encode(pixels)[..., 0]
    with torch.no_grad():
        normalised = pixels.float() / 127.5 - 1
        assert torch.equal(tokens, janus_tokens(model, normalised)) and len(tokens.unique()) > 4
        latents = F.normalize(model.quant_conv(model.encoder(normalised)), dim=1).flatten(2)  # (M, D, N)
        chosen = model.quantize.get_codebook_entry(tokens).flatten(2)
        own = model.encode(normalised).image_tokens.view(2, -1)
        others = model.quantize.get_codebook_entry(own).flatten(2)
    assert ((latents - chosen).square().sum(1) <= (latents - others).square().sum(1) + 1e-6).all()
    assert (own == tokens).all() if shortest == 1 else (own != tokens).float().mean() > 0.2


@pytest.mark.parametrize("name", ["vq", "kl", "flux2", "dc", "tiny", "emu3"])
def test_pictures_that_are_not_square(name, saved):
    codec = open_codec(f"hf:{saved(name)[0]}", CPU)
    wide = images(1, 16, 32)
    rows, columns = codec.grid(16, 32)
    assert columns == 2 * rows and codec.decode(codec.encode(wide), rows).shape == wide.shape


@pytest.mark.parametrize(
    "name, message",
    [
        ("vq", "15x16 pixels does not divide into positions of 4"),
        ("janus", "15x16 pixels does not fit: this codec takes 16x16 only"),
    ],
)
def test_a_size_that_does_not_fit_is_error_of(name, message, saved):
    with pytest.raises(ValueError, match=message):
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


def test_a_folder_with_weights_of_torch_save(saved, tmp_path):
    """Old checkpoints (CompVis' VQ) have a .bin alone: its tensors are read, and nothing else."""
    model = saved("vq")[1]
    model.save_pretrained(tmp_path / "vqvae", safe_serialization=False)
    assert [path.suffix for path in sorted((tmp_path / "vqvae").iterdir())] == [".json", ".bin"]
    codec = pretrained.load(str(tmp_path / "vqvae"), CPU)
    assert torch.equal(codec.encode(images()), pretrained.load(str(saved("vq")[0]), CPU).encode(images()))


@pytest.mark.parametrize("name, kind", [("janus", "janus"), ("emu3", "emu3")])
def test_the_codec_inside_a_language_model(name, kind, saved, tmp_path):
    """A language model in the hub's layout: several files, the codec's weights under model.vqmodel."""
    from safetensors.torch import load_file, save_file

    folder, weights = saved(name)[0], {}
    for key, value in load_file(folder / "model.safetensors").items():
        weights[f"model.vqmodel.{key}"] = value
    keys = sorted(weights)
    (tmp_path / "language").mkdir()
    save_file(
        {key: weights[key] for key in keys[::2]}, tmp_path / "language" / "model-00001-of-00002.safetensors"
    )
    save_file(
        {key: weights[key] for key in keys[1::2]} | {"model.text_model.x": torch.zeros(3)},
        tmp_path / "language" / "model-00002-of-00002.safetensors",
    )
    config = {"model_type": kind, "vq_config": json.loads((folder / "config.json").read_text())}
    (tmp_path / "language" / "config.json").write_text(json.dumps(config))
    one, other = (pretrained.load(str(path), CPU) for path in (folder, tmp_path / "language"))
    assert torch.equal(one.encode(images()), other.encode(images()))


# ----------------------------------------------------------------------------------------------------- errors


def error_of(name):
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        pretrained.load(str(name), CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unusable_model_is_an_error_of_one_line(saved, tmp_path):
    assert "is not a folder; give one with a config.json" in error_of(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "its config.json is missing or not readable" in error_of(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text('{"_class_name": "AutoencoderOobleck"}')
    assert (
        "is of class AutoencoderOobleck; allowed: VQModel, AutoencoderKL, AutoencoderKLFlux2, AutoencoderDC, "
        "AutoencoderTiny, Emu3VQVAE, JanusVQVAE; write an adapter" in error_of(tmp_path / "empty")
    )
    assert "is not a name; allowed: hf:OWNER/NAME" in error_of("taming")
    for name in ("vq", "janus"):
        folder = shutil.copytree(saved(name)[0], tmp_path / name)
        (file,) = folder.glob("*.safetensors")
        file.write_bytes(file.read_bytes()[:-40])
        assert f"cannot be loaded as {'VQModel' if name == 'vq' else 'JanusVQVAE'}: " in error_of(folder)
        file.unlink()
        assert "cannot be loaded as" in error_of(folder)


def test_a_missing_package_is_named(saved, monkeypatch):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    assert error_of(saved("vq")[0]) == (
        "ready-made codecs need 'diffusers', which is not installed; pip install 'rawmm[pretrained]'"
    )


def test_a_repository_is_fetched_without_pickles(saved, monkeypatch):
    requests = {}

    def snapshot_download(repo, allow_patterns):
        requests[repo] = allow_patterns
        return str(saved("vq")[0].parent)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert pretrained.load("amused/amused-256/vae", CPU).vocabulary == 20
    assert requests["amused/amused-256"] == [
        "vae/config.json",
        "vae/preprocessor_config.json",
        "vae/*.safetensors",
        "vae/*.safetensors.index.json",
    ]
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *rest, **more: 1 / 0)
    assert "cannot be fetched (division by zero); check the name and the network" in error_of("a/b")


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


def test_a_users_adapter(tmp_path, monkeypatch):
    (tmp_path / "my_codecs.py").write_text(ADAPTER)
    monkeypatch.chdir(tmp_path)
    codec = open_codec("python:my_codecs:Halves", CPU)
    pictures = images()
    assert codec.discrete and codec.bits(16, 16) == 8 * 192 and codec.grid(16, 16) == (8, 8)
    halved = pictures[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(codec.decode(codec.encode(pictures), 8), halved)
    for name, message in (
        ("my_codecs:Short", "lacks encode, decode; needed: encode, decode, length, vocabulary"),
        ("my_codecs:broken", "cannot be built \\(KeyError: 'no weights'\\)"),
        ("my_codecs", "is not a name"),
        ("nowhere_at_all:x", "cannot be built \\(ModuleNotFoundError"),
    ):
        with pytest.raises(ConfigError, match=message):
            adapter.load(name, CPU)


def test_defaults_of_an_adapter():
    class Numbers:
        vocabulary = None
        encode = decode = staticmethod(lambda *arguments: None)

        def length(self, height, width):
            return height * width

    codec = adapter.Adapted(Numbers())
    assert (codec.discrete, codec.grid(2, 3), codec.bits(2, 3)) == (False, (1, 6), None)


def test_a_name_without_a_prefix_is_a_run(tmp_path):
    with pytest.raises(CheckpointError, match="is not a run"):
        open_codec(str(tmp_path), CPU)
