"""Ready-made codecs of diffusers and transformers, from the hub or from a folder in its layout:
`hf:OWNER/NAME[/SUBFOLDER]`, `hf:./FOLDER`.

    VQModel, AutoencoderKL, AutoencoderTiny     diffusers, by `_class_name` in config.json
    Emu3VQVAE, JanusVQVAE                       transformers, by `model_type`: emu3_vqgan, janus_vqgan; or
                                                emu3, janus, of which only the part `vqmodel` is read

Only config.json, preprocessor_config.json and .safetensors files are fetched and read: no pickle and no code.
Weights are fp32. A continuous codec encodes to the mean of its posterior. AutoencoderTiny is used as in its
own `forward`, which stores each number of a latent in 8 bits: its tokens are integers up to 255."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from math import isfinite, log2
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..system.disk import open_file, read_file
from ..system.errors import CheckpointError, ConfigError, printable
from .base import to_images

# What libraries raise where files or settings do not fit.
FAILURES = (ImportError, OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError)
LARGEST = 10_000_000  # bytes of a file of settings
FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")


class Family(NamedTuple):
    """Interface of one class. encode(model, pixels) -> tokens (M, h, w) long, or numbers (M, C, h, w);
    decode(model, tokens) -> pixels. vocabulary, halvings: functions of its config."""

    package: str
    encode: Callable[[nn.Module, Tensor], Tensor]
    decode: Callable[[nn.Module, Tensor], Tensor]
    vocabulary: Callable[[object], int | None]
    halvings: Callable[[object], int]
    discrete: bool = True


def _vq_encode(model: Any, pixels: Tensor) -> Tensor:
    latents = model.encode(pixels).latents
    return model.quantize(latents)[2][2].view(len(pixels), *latents.shape[-2:])


def _vq_decode(model: Any, tokens: Tensor) -> Tensor:
    shape = (*tokens.shape, model.quantize.vq_embed_dim)
    if model.config.lookup_from_codebook:
        return model.decode(tokens.flatten(), force_not_quantize=True, shape=shape).sample
    return model.decode(
        model.quantize.get_codebook_entry(tokens.flatten(), shape), force_not_quantize=True
    ).sample


def _emu3_encode(model: Any, pixels: Tensor) -> Tensor:
    sizes = torch.tensor(pixels.shape[-2:]).expand(len(pixels), 2)
    return torch.stack(model.encode(pixels, sizes).image_tokens)


def _janus_encode(model: Any, pixels: Tensor) -> Tensor:
    """The code nearest in direction, as in the original (github.com/deepseek-ai/Janus, `l2_norm`) and as
    `decode` looks codes up; transformers' own search compares latents and codes of any length."""
    latents = F.normalize(model.quant_conv(model.encoder(pixels)), dim=1)
    book = F.normalize(model.quantize.embedding.weight, dim=1)
    return torch.einsum("mdhw,vd->mhwv", latents, book).argmax(-1)


def _tiny_encode(model: Any, pixels: Tensor) -> Tensor:
    return (model.scale_latents(model.encode(pixels).latents) * 255).round().long()


FAMILIES = {
    "VQModel": Family(
        "diffusers",
        _vq_encode,
        _vq_decode,
        lambda c: c.num_vq_embeddings,
        lambda c: len(c.block_out_channels) - 1,
    ),
    "AutoencoderKL": Family(
        "diffusers",
        lambda model, pixels: model.encode(pixels).latent_dist.mode(),
        lambda model, latents: model.decode(latents).sample,
        lambda c: None,
        lambda c: len(c.block_out_channels) - 1,
        discrete=False,
    ),
    "AutoencoderTiny": Family(
        "diffusers",
        _tiny_encode,
        lambda model, tokens: model.decode(model.unscale_latents(tokens / 255.0)).sample,
        lambda c: 256,
        lambda c: len(c.encoder_block_out_channels) - 1,
    ),
    "Emu3VQVAE": Family(
        "transformers",
        _emu3_encode,
        lambda model, tokens: model.decode(tokens),
        lambda c: c.codebook_size,
        lambda c: len(c.channel_multiplier) - 1,
    ),
    "JanusVQVAE": Family(
        "transformers",
        _janus_encode,
        lambda model, tokens: model.decode(tokens.flatten(1)),
        lambda c: c.num_embeddings,
        lambda c: len(c.channel_multiplier) - 1,
    ),
}
MODELS = {"emu3_vqgan": "Emu3VQVAE", "emu3": "Emu3VQVAE", "janus_vqgan": "JanusVQVAE", "janus": "JanusVQVAE"}


class Pretrained(nn.Module):
    """A ready-made model as a codec (`core/parts.py`). mean, spread: by which it normalises pixels in [0,
    1]."""

    def __init__(self, model: nn.Module, family: Family, mean: list[float], spread: list[float]):
        super().__init__()
        self.model, self.family, self.discrete = model, family, family.discrete
        self.vocabulary, self.factor = family.vocabulary(model.config), 2 ** family.halvings(model.config)
        self.side = self.factor * model.config.num_patches if hasattr(model.config, "num_patches") else None
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(spread).view(-1, 1, 1), persistent=False)
        latents = getattr(model.config, "latent_channels", 1)  # numbers a position
        if self.discrete:
            self.codes = latents if family.encode is _tiny_encode else 1
        else:
            self.values = latents

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of an H x W picture. Raises ValueError where the size does not fit."""
        if self.side and (height, width) != (self.side, self.side):
            raise ValueError(
                f"a picture of {height}x{width} pixels does not fit: this codec takes "
                f"{self.side}x{self.side} only"
            )
        if height % self.factor or width % self.factor or not height or not width:
            raise ValueError(
                f"a picture of {height}x{width} pixels does not divide into positions of {self.factor}"
            )
        return height // self.factor, width // self.factor

    def tokens(self, height: int, width: int) -> int:
        """N of an H x W picture."""
        rows, columns = self.grid(height, width)
        return rows * columns

    def length(self, height: int, width: int) -> int:
        """L = N G, the integers of an H x W picture; N where latents are continuous."""
        return self.tokens(height, width) * (self.codes if self.discrete else 1)

    def bits(self, height: int, width: int) -> float | None:
        """L log2 V, the nominal bits of an H x W picture; None where latents are continuous."""
        length = self.length(height, width)
        return length * log2(self.vocabulary) if self.discrete else None

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(M, 3, H, W) uint8 -> (M, N, G) int64, or (M, N, P) fp32."""
        self.grid(*images.shape[-2:])
        latents = self.family.encode(self.model, (images.float() / 255 - self.mean) / self.spread)
        if latents.ndim == 3:
            latents = latents[:, None]  # (M, 1, h, w)
        tokens = rearrange(latents, "m c h w -> m (h w) c")
        return tokens.long() if self.discrete else tokens.float()

    @torch.no_grad()
    def decode(self, tokens: Tensor, rows: int) -> Tensor:
        """(M, N, G) or (M, N, P) in `rows` rows -> (M, 3, H, W) uint8."""
        grid = rearrange(tokens, "m (h w) c -> m c h w", h=rows)
        if self.discrete and self.family.encode is not _tiny_encode:
            grid = grid[:, 0]
        pixels = self.family.decode(self.model, grid).float() * self.spread + self.mean
        return to_images(2 * pixels - 1)


def load(name: str, device: torch.device) -> Pretrained:
    """Codec of `OWNER/NAME[/SUBFOLDER]` of the hub, or of a folder (./FOLDER, /FOLDER), in eval mode.

    Raises ConfigError where a package is missing, CheckpointError where there is no such model or it is of
    another class."""
    folder = _folder(name)
    try:
        config = json.loads(read_file(folder / "config.json", LARGEST))
        kind = config.get("_class_name") or MODELS.get(config.get("model_type"), config.get("model_type"))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"hf:{printable(name)} cannot be used: its config.json is missing or not readable "
            f"({type(error).__name__}); name the subfolder of the codec, as in hf:OWNER/NAME/vae"
        ) from None
    if kind not in FAMILIES:
        raise CheckpointError(
            f"hf:{printable(name)} is of class {printable(str(kind))}; allowed: {', '.join(FAMILIES)}; write "
            f"an adapter for any other: docs/tokenizers.md"
        )
    family = FAMILIES[kind]
    _need(family.package)
    try:
        for file in (*folder.glob("*.json"), *folder.glob("*.safetensors")):
            open_file(file).close()  # the libraries would wait for a named pipe
        model = (
            _diffusers(folder, kind) if family.package == "diffusers" else _transformers(folder, kind, config)
        )
    except (*FAILURES, SafetensorError) as error:
        reason = printable((str(error).splitlines() or [type(error).__name__])[0])[:200]
        raise CheckpointError(f"hf:{printable(name)} cannot be loaded as {kind}: {reason}") from None
    mean, spread = _pixels(folder)
    return Pretrained(model.float(), family, mean, spread).to(device).eval().requires_grad_(False)


def _diffusers(folder: Path, kind: str) -> nn.Module:
    import diffusers

    diffusers.logging.set_verbosity_error()  # `load` reports errors
    return getattr(diffusers, kind).from_pretrained(
        str(folder), use_safetensors=True, low_cpu_mem_usage=False
    )


def _transformers(folder: Path, kind: str, config: dict) -> nn.Module:
    """The model, or the part `vqmodel` of one that writes and draws. A missing weight is an error."""
    import transformers

    settings = getattr(transformers, f"{kind}Config")(
        **{
            key: value
            for key, value in config.get("vq_config", config).items()
            if key != "transformers_version"
        }
    )
    model, values = getattr(transformers, kind)(settings), {}
    for file in sorted(folder.glob("*.safetensors")):
        for key, value in load_file(str(file)).items():
            _, part, after = key.rpartition("vqmodel.")
            if part or "vq_config" not in config:
                values[after if part else key] = value
    model.load_state_dict(values)
    return model


def _pixels(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and standard deviation by which pixels are normalised; 0.5 each where the folder has none."""
    try:
        settings = json.loads(read_file(folder / "preprocessor_config.json", LARGEST))
        mean, spread = ([float(value) for value in settings[key]] for key in ("image_mean", "image_std"))
        if len(mean) == len(spread) == 3 and all(spread) and all(map(isfinite, mean + spread)):
            return mean, spread
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return [0.5] * 3, [0.5] * 3


def _folder(name: str) -> Path:
    """Folder of the files, which are fetched first where the hub has them."""
    if name.startswith((".", "/", "~")):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise CheckpointError(
                f"hf:{printable(name)} is not a folder; give one with a config.json, or hf:OWNER/NAME of the "
                f"hub"
            )
        return folder
    owner, _, rest = name.partition("/")
    repo, _, inside = rest.partition("/")
    if not owner or not repo:
        raise ConfigError(
            f"codec hf:{printable(name)} is not a name; allowed: hf:OWNER/NAME, hf:OWNER/NAME/SUBFOLDER, "
            "hf:./FOLDER"
        )
    _need("huggingface_hub")
    from huggingface_hub import snapshot_download

    try:
        path = snapshot_download(
            f"{owner}/{repo}", allow_patterns=[f"{inside}/{file}" if inside else file for file in FILES]
        )
    except Exception as error:  # of almost any type
        reason = printable((str(error).splitlines() or [type(error).__name__])[0])[:200]
        raise CheckpointError(
            f"hf:{printable(name)} cannot be fetched ({reason}); check the name and the network, or give a "
            "local copy: hf:./FOLDER"
        ) from None
    return Path(path) / inside


def _need(package: str) -> None:
    if find_spec(package) is None:
        raise ConfigError(
            f"ready-made codecs need '{package}', which is not installed; pip install 'rawmm[pretrained]'"
        )
