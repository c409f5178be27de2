"""Codecs that no library loads, from tiny random weights saved under the names of the published checkpoints.

References: the same network in transformers where there is one (LlamaGen and IBQ: Janus; Chameleon: its
encoder), else the round trip written out here from the papers and the public repositories."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from rawmm_cli.codecs.adapter import Adapted
from rawmm_cli.codecs.published import cosmos, emu3, maskgit, open_magvit2, titok, vqgan, weights

diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
SIZES = {"embed_dim": 4, "latent_channels": 32, "base_channels": 32, "channel_multiplier": [1, 2, 2]}


def images(count=2, height=16, width=16):
    return torch.randint(
        0, 256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def as_bytes(pixels, low=-1):
    """Pixels in [low, 1] -> uint8."""
    return (255 * ((pixels.clamp(low, 1) - low) / (1 - low))).round().to(torch.uint8)


def assert_close(one, other):
    assert one.dtype == other.dtype == torch.uint8 and one.shape == other.shape
    assert (one.int() - other.int()).abs().max() <= 1
    assert one.float().std() > 1, "a picture of one colour proves nothing"


@pytest.fixture
def janus():
    """A network of taming's kind with attention at the last level, as LlamaGen and IBQ have, and codes of
    uneven lengths."""
    torch.manual_seed(0)
    model = transformers.JanusVQVAE(
        transformers.JanusVQVAEConfig(**SIZES, num_embeddings=32, num_res_blocks=2, num_patches=4)
    ).eval()
    book = F.normalize(torch.randn(32, 4), dim=-1) * torch.linspace(0.5, 1.5, 32)[:, None]
    model.quantize.embedding.weight.data = book
    return model


def taming_names(values):
    """The published names of taming's kind, which count levels of the decoder from the pixels up."""
    last = len({key.split(".")[2] for key in values if key.startswith("decoder.up.")}) - 1
    names = {}
    for key, value in values.items():
        words = key.split(".")
        if words[:2] == ["decoder", "up"]:
            words[2] = str(last - int(words[2]))
        names[".".join(words)] = value
    return names


def llamagen_names(values):
    names = {}
    for key, value in values.items():
        for old, new in (
            ("encoder.down.", "encoder.conv_blocks."),
            ("decoder.up.", "decoder.conv_blocks."),
            (".mid.block_1.", ".mid.0."),
            (".mid.attn_1.", ".mid.1."),
            (".mid.block_2.", ".mid.2."),
            (".block.", ".res."),
        ):
            key = key.replace(old, new)
        names[key] = value
    return names


@torch.no_grad()
def latents_of(model, pictures):
    return model.quant_conv(model.encoder(pictures.float() / 127.5 - 1))


@torch.no_grad()
def drawn(model, codes):
    """Codes (M, D, h, w) through the decoder of a network of taming's kind."""
    return as_bytes(model.decoder(model.post_quant_conv(codes)))


def test_llamagen_is_the_network_of_janus(janus, tmp_path):
    """Checkpoint of torch.save with the weights under "model"; latents and codes have length 1."""
    values = llamagen_names(janus.state_dict())
    values["quantize.codebook_used"] = torch.zeros(65536)
    torch.save({"model": values, "steps": 3}, tmp_path / "vq_ds16_c2i.pt")
    codec = vqgan.load(tmp_path / "vq_ds16_c2i.pt", CPU, "cosine")
    assert (codec.vocabulary, codec.length(16, 16), codec.factor, codec.codes) == (32, 16, 4, 1)
    tokens = codec.encode(images())
    book = F.normalize(janus.quantize.embedding.weight, dim=-1)
    latents = F.normalize(latents_of(janus, images()), dim=1)
    nearest = torch.cdist(latents.flatten(2).transpose(1, 2), book).argmin(-1)
    assert torch.equal(tokens[..., 0], nearest) and len(nearest.unique()) > 3
    assert_close(codec.decode(tokens, 4), as_bytes(janus.decode(nearest).detach()))
    assert codec.encode(images(1, 32, 16)).shape == (1, 32, 1)  # any size, where Janus takes one


def test_ibq_takes_the_largest_product_and_averaged_weights(janus, tmp_path):
    values = taming_names(janus.state_dict())
    averages = {f"model_ema.{key.replace('.', '')}": value for key, value in values.items()}
    trained = {key: torch.zeros_like(value) for key, value in values.items()}
    contents = trained | averages | {"model_ema.decay": torch.tensor(0.9), "loss.logvar": torch.zeros(1)}
    torch.save({"state_dict": contents, "epoch": 1}, tmp_path / "imagenet256_16384.ckpt")
    codec = vqgan.load(tmp_path / "imagenet256_16384.ckpt", CPU, "dot")
    tokens, book = codec.encode(images())[..., 0], janus.quantize.embedding.weight
    latents = latents_of(janus, images()).flatten(2).transpose(1, 2)  # (M, N, D)
    assert torch.equal(tokens, (latents @ book.T).argmax(-1))
    assert (tokens != torch.cdist(latents, book).argmin(-1)).any()
    codes = book[tokens].transpose(1, 2).unflatten(2, (4, 4))
    assert_close(codec.decode(tokens[..., None], 4), drawn(janus, codes.detach()))


def test_chameleon_has_the_encoder_of_transformers(janus, tmp_path):
    """Its encoder in transformers (without decoder), the nearest code, attention in the middle alone."""
    torch.manual_seed(0)
    config = transformers.ChameleonVQVAEConfig(
        **SIZES,
        num_embeddings=32,
        num_res_blocks=2,
        attn_resolutions=None,
        resolution=16,
        double_latent=False,
    )
    reference = transformers.ChameleonVQVAE(config).eval()
    latents = (
        latents_of(reference, images()).transpose(0, 1).flatten(1)
    )  # codes near them, so that many are used
    book = latents.mean(1) + 2 * latents.std(1) * torch.randn(32, 4)
    reference.quantize.embedding.weight.data = book
    decoder = {
        key: value
        for key, value in taming_names(janus.state_dict()).items()
        if key.startswith(("decoder.", "post_quant_conv.")) and ".attn." not in key
    }
    torch.save({"state_dict": reference.state_dict() | decoder}, tmp_path / "vqgan.ckpt")
    codec = vqgan.load(tmp_path / "vqgan.ckpt", CPU, "nearest")
    with torch.no_grad():
        own = reference.encode(images().float() / 127.5 - 1).image_tokens
    tokens = codec.encode(images())
    assert torch.equal(tokens[..., 0], own.view(2, -1)) and len(own.unique()) > 3
    for level in janus.decoder.up:
        level.attn = torch.nn.ModuleList()
    codes = book[tokens[..., 0]].transpose(1, 2).unflatten(2, (4, 4))
    assert_close(codec.decode(tokens, 4), drawn(janus, codes))


def test_emu3_by_its_own_names(tmp_path):
    torch.manual_seed(0)
    sizes = {"codebook_size": 32, "embed_dim": 4, "num_res_blocks": 1, "attn_resolutions": [1]}
    sizes |= {"in_channels": 3, "out_channels": 3, "temporal_downsample_factor": 2}
    model = transformers.Emu3VQVAE(
        transformers.Emu3VQVAEConfig(
            **sizes, base_channels=32, channel_multiplier=[1, 2], latent_channels=4, hidden_size=64
        )
    ).eval()
    torch.nn.init.normal_(model.quantize.embedding.weight)
    values = {}
    for key, value in model.state_dict().items():
        convolution = "_proj.weight" in key
        for old, new in (
            ("down_block.", ""),
            ("up_block.", ""),
            ("middle_block.", "mid."),
            ("attn_norm.", "attn_1.norm."),
            ("attn_norms.0.", "attn.0.norm."),
            ("attn_norms.1.", "attn.1.norm."),
            ("q_proj.", "q."),
            ("k_proj.", "k."),
            ("v_proj.", "v."),
            ("out_proj.", "proj_out."),
        ):
            key = key.replace(old, new)
        values[key] = value[..., None, None].clone() if convolution else value
    save_file(values, tmp_path / "model.safetensors")
    own = {"model_type": "Emu3VisionVQ", "ch": 32, "ch_mult": [1, 2], "z_channels": 4, "double_z": False}
    (tmp_path / "config.json").write_text(json.dumps(own | sizes | {"dropout": 0.0}))
    codec = emu3.load(tmp_path / "model.safetensors", CPU)
    with torch.no_grad():
        sides = torch.tensor([[16, 16]] * 2)
        tokens = torch.stack(model.encode(images().float() / 127.5 - 1, sides).image_tokens)
        assert torch.equal(codec.encode(images())[..., 0], tokens.flatten(1)) and len(tokens.unique()) > 3
        assert_close(codec.decode(codec.encode(images()), 8), as_bytes(model.decode(tokens)))


# ------------------------------------------------------------------------------- networks written out here


class Weights(dict):
    """Random weights by published names, made where they are first asked for."""

    def __init__(self):
        super().__init__()
        self.random = torch.Generator().manual_seed(0)

    def make(self, name, *shape, scale=None):
        if name not in self:
            fan = shape[1] * (shape[2] * shape[3] if len(shape) == 4 else 1) if len(shape) > 1 else 1
            scale = scale or (fan**-0.5 if len(shape) > 1 else 0.3)
            self[name] = scale * torch.randn(*shape, generator=self.random)
            if len(shape) == 1 and name.endswith("weight"):
                self[name] += 1
        return self[name]

    def conv(self, name, x, outside, size=3, stride=1, bias=True):
        weight = self.make(f"{name}.weight", outside, x.shape[1], size, size)
        return F.conv2d(
            x, weight, self.make(f"{name}.bias", outside) if bias else None, stride, padding=size // 2
        )

    def norm(self, name, x):
        width = x.shape[1]
        return F.group_norm(
            x, 32, self.make(f"{name}.weight", width), self.make(f"{name}.bias", width), eps=1e-6
        )

    def block(self, name, x, outside, own):
        hidden = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", x)), outside, bias=False)
        hidden = self.conv(f"{name}.conv2", F.silu(self.norm(f"{name}.norm2", hidden)), outside, bias=False)
        if x.shape[1] != outside:
            x = self.conv(f"{name}.nin_shortcut", hidden if own else x, outside, 1, bias=False)
        return x + hidden

    def linear(self, name, x, outside):
        weight = self.make(f"{name}.weight", outside, x.shape[-1])
        return F.linear(x, weight, self.make(f"{name}.bias", outside))

    def layer_norm(self, name, x):
        width = x.shape[-1]
        return F.layer_norm(x, (width,), self.make(f"{name}.weight", width), self.make(f"{name}.bias", width))


WIDTHS = (32, 32, 64)  # f4


def maskgit_encoder(w, x, latent):
    x = w.conv("encoder.conv_in", x, WIDTHS[0], bias=False)
    for n, width in enumerate(WIDTHS):
        for layer in range(2):
            x = w.block(f"encoder.down.{n}.block.{layer}", x, width, own=True)
        if n < len(WIDTHS) - 1:
            x = F.avg_pool2d(x, 2)
    for layer in range(2):
        x = w.block(f"encoder.mid.{layer}", x, WIDTHS[-1], own=True)
    return w.conv("encoder.conv_out", F.silu(w.norm("encoder.norm_out", x)), latent, 1)


def maskgit_decoder(w, x, name="decoder"):
    x = w.conv(f"{name}.conv_in", x, WIDTHS[-1])
    for layer in range(2):
        x = w.block(f"{name}.mid.{layer}", x, WIDTHS[-1], own=True)
    for n in reversed(range(len(WIDTHS))):
        for layer in range(2):
            x = w.block(f"{name}.up.{n}.block.{layer}", x, WIDTHS[n], own=True)
        if n:
            x = w.conv(
                f"{name}.up.{n}.upsample_conv", x.repeat_interleave(2, 2).repeat_interleave(2, 3), WIDTHS[n]
            )
    return w.conv(f"{name}.conv_out", F.silu(w.norm(f"{name}.norm_out", x)), 3)


def test_maskgit(tmp_path):
    w, x = Weights(), images().float() / 255
    latents = maskgit_encoder(w, x, 8).flatten(2).transpose(1, 2)
    book = w.make("quantize.embedding.weight", 32, 8, scale=1)
    tokens = torch.cdist(latents, book).argmin(-1)
    pixels = maskgit_decoder(w, book[tokens].transpose(1, 2).unflatten(2, (4, 4)))
    torch.save(dict(w), tmp_path / "maskgit-vqgan-imagenet-f16-256.bin")
    codec = Adapted(maskgit.load(tmp_path / "maskgit-vqgan-imagenet-f16-256.bin", CPU), "maskgit")
    assert (codec.vocabulary, codec.length(16, 16), codec.grid(16, 32)) == (32, 16, (4, 8))
    assert torch.equal(codec.encode(images())[..., 0], tokens) and len(tokens.unique()) > 3
    assert_close(codec.decode(tokens[..., None], 4), as_bytes(pixels, low=0))


def open_magvit2_encoder(w, x, bits):
    x = w.conv("encoder.conv_in", x, WIDTHS[0], bias=False)
    for n, width in enumerate(WIDTHS):
        for layer in range(2):
            x = w.block(f"encoder.down.{n}.block.{layer}", x, width, own=False)
        if n < len(WIDTHS) - 1:
            x = w.conv(f"encoder.down.{n}.downsample", x, width, stride=2)
    for layer in range(2):
        x = w.block(f"encoder.mid_block.{layer}", x, WIDTHS[-1], own=False)
    return w.conv("encoder.conv_out", F.silu(w.norm("encoder.norm_out", x)), bits, 1)


def open_magvit2_decoder(w, signs):
    x = w.conv("decoder.conv_in", signs, WIDTHS[-1])
    for layer in range(2):
        x = w.block(f"decoder.mid_block.{layer}", x, WIDTHS[-1], own=False)
    for n in reversed(range(len(WIDTHS))):
        deviation, mean = (signs.flatten(2).var(-1) + 1e-6).sqrt(), signs.flatten(2).mean(-1)
        scale = w.linear(f"decoder.adaptive.{n}.gamma", deviation, x.shape[1])[..., None, None]
        shift = w.linear(f"decoder.adaptive.{n}.beta", mean, x.shape[1])[..., None, None]
        x = scale * F.group_norm(x, 32, eps=1e-6) + shift
        for layer in range(2):
            x = w.block(f"decoder.up.{n}.block.{layer}", x, WIDTHS[n], own=False)
        if n:
            x = w.conv(f"decoder.up.{n}.upsample.conv1", x, 4 * WIDTHS[n])
            m, _, h, v = x.shape
            x = x.view(m, 2, 2, WIDTHS[n], h, v).permute(0, 3, 4, 1, 5, 2).reshape(m, WIDTHS[n], 2 * h, 2 * v)
    return w.conv("decoder.conv_out", F.silu(w.norm("decoder.norm_out", x)), 3)


def test_open_magvit2(tmp_path):
    w, x = Weights(), images().float() / 127.5 - 1
    latents = open_magvit2_encoder(w, x, 5)
    signs = torch.where(latents > 0, 1.0, -1.0)
    tokens = sum((signs[:, bit] > 0).long() << bit for bit in range(5)).flatten(1)
    pixels = open_magvit2_decoder(w, signs)
    torch.save({"state_dict": dict(w) | {"loss.x": torch.zeros(2)}}, tmp_path / "imagenet_256_L.ckpt")
    codec = Adapted(open_magvit2.load(tmp_path / "imagenet_256_L.ckpt", CPU), "open-magvit2")
    assert (codec.vocabulary, codec.length(16, 16), codec.grid(16, 32)) == (32, 16, (4, 8))
    assert torch.equal(codec.encode(images())[..., 0], tokens) and len(tokens.unique()) > 3
    assert_close(codec.decode(tokens[..., None], 4), as_bytes(pixels))


def tower(w, name, patches, latents):
    width = patches.shape[-1]
    first = w.make(f"{name}.class_embedding", 1, width).expand(len(patches), 1, width)
    patches = torch.cat([first, patches], 1)
    patches = patches + w.make(f"{name}.positional_embedding", patches.shape[1], width)
    latents = latents + w.make(f"{name}.latent_token_positional_embedding", latents.shape[1], width)
    x = w.layer_norm(f"{name}.ln_pre", torch.cat([patches, latents], 1))
    for n in range(2):
        layer = f"{name}.transformer.{n}"
        normed = w.layer_norm(f"{layer}.ln_1", x)
        weight, bias = (
            w.make(f"{layer}.attn.in_proj_weight", 3 * width, width),
            w.make(f"{layer}.attn.in_proj_bias", 3 * width),
        )
        query, key, value = F.linear(normed, weight, bias).unflatten(-1, (3, -1, 64)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + w.linear(f"{layer}.attn.out_proj", mixed, width)
        hidden = F.gelu(w.linear(f"{layer}.mlp.c_fc", w.layer_norm(f"{layer}.ln_2", x), 4 * width))
        x = x + w.linear(f"{layer}.mlp.c_proj", hidden, width)
    return x


def titok_round_trip(w, x, legacy):
    """Tokens and pixels of pictures (M, 3, 16, 16) in [0, 1]: patches of 4, 5 tokens, widths 128 and 64."""
    patches = F.conv2d(
        x,
        w.make("encoder.patch_embed.weight", 128, 3, 4, 4),
        w.make("encoder.patch_embed.bias", 128),
        stride=4,
    )
    latents = w.make("latent_tokens", 5, 128).expand(len(x), 5, 128)
    hidden = tower(w, "encoder", patches.flatten(2).transpose(1, 2), latents)[:, -5:]
    hidden = w.layer_norm("encoder.ln_post", hidden)
    grid = hidden.reshape(len(x), 128, 5, 1) if legacy else hidden.transpose(1, 2)[..., None]
    latents = w.conv("encoder.conv_out", grid, 6, 1).flatten(2).transpose(1, 2)
    book = w.make("quantize.embedding.weight", 32, 6, scale=1)
    if legacy:
        latents, book = F.normalize(latents, dim=-1), F.normalize(book, dim=-1)
    tokens = torch.cdist(latents, book).argmin(-1)
    places = w.make("decoder.mask_token", 1, 1, 64, scale=1).expand(len(x), 16, 64)
    hidden = tower(w, "decoder", places, w.linear("decoder.decoder_embed", book[tokens], 64))[:, 1:17]
    hidden = w.layer_norm("decoder.ln_post", hidden).transpose(1, 2).unflatten(2, (4, 4))
    if legacy:
        logits = w.conv("decoder.ffn.2", w.conv("decoder.ffn.0", hidden, 128, 1).tanh(), 10, 1)
        mixed = w.make("pixel_quantize.embedding.weight", 10, 8, scale=1)
        return tokens, maskgit_decoder(
            w, torch.einsum("mvhw,vd->mdhw", logits.softmax(1), mixed), "pixel_decoder"
        )
    pixels = w.conv("decoder.ffn.0", hidden, 48, 1).view(-1, 4, 4, 3, 4, 4)  # (M, p, q, C, h, w)
    pixels = pixels.permute(0, 3, 4, 1, 5, 2).reshape(-1, 3, 16, 16)
    return tokens, w.conv("decoder.conv_out", pixels, 3)


@pytest.mark.parametrize("legacy", [True, False])
def test_titok(legacy, tmp_path):
    w = Weights()
    tokens, pixels = titok_round_trip(w, images().float() / 255, legacy)
    save_file({key: value.contiguous() for key, value in w.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model": {"vq_model": {"use_l2_norm": legacy}}}))
    codec = Adapted(titok.load(tmp_path / "model.safetensors", CPU), "titok")
    assert (codec.vocabulary, codec.length(16, 16), codec.grid(16, 16)) == (32, 5, (1, 5))
    assert torch.equal(codec.encode(images())[..., 0], tokens) and len(tokens.unique()) > 2
    assert_close(codec.decode(tokens[..., None], 1), as_bytes(pixels, low=0))
    with pytest.raises(ValueError, match="16x20 pixels do not fit: this codec takes 16x16"):
        codec.grid(16, 20)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_cosmos(tmp_path):
    """Two programs: indices first, then other outputs; indices back to pixels."""

    class Encoder(torch.nn.Module):
        def forward(self, x: torch.Tensor):
            mean = torch.nn.functional.avg_pool2d(x, 16).mean(1)
            return ((mean + 1) * 30000).round().int(), mean

    class Decoder(torch.nn.Module):
        def forward(self, indices: torch.Tensor):
            grid = (indices.float() / 30000 - 1).unsqueeze(1).repeat(1, 3, 1, 1)
            return torch.nn.functional.interpolate(grid, scale_factor=16.0)

    for name, part in (("encoder", Encoder()), ("decoder", Decoder())):
        torch.jit.script(part).save(str(tmp_path / f"{name}.jit"))
    codec = Adapted(cosmos.load(tmp_path, CPU, 16), "cosmos")
    pictures = images(2, 32, 16)
    tokens = codec.encode(pictures)
    assert (codec.vocabulary, codec.length(32, 16), codec.grid(32, 16)) == (64000, 2, (2, 1))
    means = pictures.float().unflatten(2, (2, 16)).mean((1, 3, 4))
    assert tokens.shape == (2, 2, 1) and torch.allclose(tokens[..., 0] / 30000 * 127.5, means, atol=0.01)
    assert codec.decode(tokens, 2).shape == pictures.shape
    assert (codec.decode(tokens, 2)[:, 0, ::16, 0].float() - means).abs().max() <= 0.51


WIDTHS_F16 = [128, 128, 256, 256, 512]


def titok_shapes(encoder, decoder, length, codes, latent, legacy):
    """Shapes by which a TiTok is built. encoder, decoder: (width, layers)."""
    shapes = {
        "quantize.embedding.weight": (codes, latent),
        "latent_tokens": (length, encoder[0]),
        "encoder.patch_embed.weight": (encoder[0], 3, 16, 16),
    }
    for name, (width, layers) in (("encoder", encoder), ("decoder", decoder)):
        shapes[f"{name}.positional_embedding"] = (257, width)
        shapes |= {f"{name}.transformer.{n}.ln_1.weight": (width,) for n in range(layers)}
    if legacy:
        shapes["pixel_quantize.embedding.weight"] = (1024, 256)
        shapes["pixel_decoder.conv_in.weight"] = (512, 256, 3, 3)
        for n, width in enumerate(WIDTHS_F16):
            shapes |= {f"pixel_decoder.up.{n}.block.{m}.conv1.weight": (width, 1) for m in range(2)}
    return {name: torch.empty(shape) for name, shape in shapes.items()}


def test_networks_are_as_large_as_the_published_files():
    """Megabytes of weights in fp32, as the hub's pages give them; SEED-Voken's files hold weights twice."""
    small, base, large = (512, 8), (768, 12), (1024, 24)
    with torch.device("meta"):
        ibq = diffusers.VQModel(
            block_out_channels=WIDTHS_F16,
            down_block_types=["DownEncoderBlock2D"] * 4 + ["AttnDownEncoderBlock2D"],
            up_block_types=["AttnUpDecoderBlock2D"] + ["UpDecoderBlock2D"] * 4,
            layers_per_block=4,
            latent_channels=256,
            num_vq_embeddings=1024,
            vq_embed_dim=256,
        )
        networks = {
            "Open-MAGVIT2 256": (open_magvit2.OpenMagvit2(WIDTHS_F16, 4, 18), 2, 921),
            "IBQ 1024": (ibq, 2, 857),
            "TiTok B-64": (titok.TiTok(titok_shapes(base, base, 64, 4096, 12, True), True), 1, 819),
            "TiTok BL-64": (titok.TiTok(titok_shapes(base, large, 64, 8192, 64, False), False), 1, 1560),
            "TiTok SL-256": (titok.TiTok(titok_shapes(small, large, 256, 8192, 64, False), False), 1, 1320),
        }
    for name, (network, times, megabytes) in networks.items():
        weights = sum(value.numel() for value in network.state_dict().values())
        rounding = 5 if megabytes > 1000 else 1  # 1.32 GB
        assert abs(4e-6 * weights * times - megabytes) <= rounding, name


def test_a_checkpoint_that_holds_more_than_weights_is_refused(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "hyper": pytest.approx(1)}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="a.ckpt holds more than weights, or is damaged"):
        weights.read(tmp_path / "a.ckpt")
    torch.save([torch.zeros(1)], tmp_path / "b.ckpt")
    with pytest.raises(ValueError, match="b.ckpt holds no weights by name"):
        weights.read(tmp_path / "b.ckpt")
