"""The reading head: Fuyu's layout, our reading side as its other end, and that nothing of it draws."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import randomised, tiny_model

from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.config import build, presets
from rawmm_cli.core import mask, reference
from rawmm_cli.core.backbones.transformer import Transformer
from rawmm_cli.core.batch import layout, pack, size
from rawmm_cli.core.blocks import lines, one_block
from rawmm_cli.core.document import Labels, Picture
from rawmm_cli.core.drawing import Sampling
from rawmm_cli.core.generate import choose, generate
from rawmm_cli.core.heads.diffusion import time_features
from rawmm_cli.core.heads.reading import ReadingHead
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, LINE_END, VOCABULARY, encode
from rawmm_cli.system.errors import ConfigError

WIDTH = 32


def picture(rows=3, columns=4, seed=0) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 2 * rows, 2 * columns), dtype=np.uint8)
    return Picture(torch.from_numpy(pixels), False)


def document(shown: Picture) -> list:
    return [BOS, IMAGE, shown, END_IMAGE, *encode("seven"), EOS]


def model(ordered=True, line_ends=True, seed=0) -> RawModel:
    torch.manual_seed(seed)
    head = ReadingHead(12, WIDTH, ordered=ordered, line_ends=line_ends)
    built = RawModel(RawPatches(2), head, Transformer(WIDTH, 2, 2, 2 * WIDTH), mask.dense, VOCABULARY, WIDTH)
    return randomised(built)


def packed(built, *documents):
    return pack(list(documents), max(size(one, built.blocks) for one in documents), built.blocks)


def text_nats(built, one) -> float:
    return joint_loss(built, packed(built, one)).text.item()


# ----------------------------------------------------------------------------------------------- the sequence


@pytest.mark.parametrize("rows, columns", [(1, 1), (3, 4), (4, 2)])
def test_a_picture_takes_a_position_more_in_every_row(rows, columns):
    built, shown = model(), picture(rows, columns)
    plain = model(line_ends=False)
    assert size(document(shown), built.blocks) == rows * (columns + 1) + 9
    assert size(document(shown), plain.blocks) == rows * columns + 9
    placed = layout(document(shown), built.blocks)
    inside = placed.tokens[2:-7].reshape(rows, columns + 1)
    assert (inside[:, -1] == LINE_END).all() and (inside[:, :-1] == 0).all()
    assert (np.diff(placed.labels[0]) == 1).all()  # a block a position


def test_line_ends_are_input_and_never_a_target():
    built, plain = model(), model(line_ends=False)
    batch, other = packed(built, document(picture())), packed(plain, document(picture()))
    assert batch.predict.tolist() == other.predict.tolist() == [IMAGE, *encode("seven"), EOS]
    assert (batch.tokens == LINE_END).sum() == 3 and batch.pictures.counts == other.pictures.counts == (12,)
    joint_loss(built, batch).total.backward()
    assert built.words.weight.grad[LINE_END].abs().sum() > 0
    assert torch.equal(built.encode(batch), plain.encode(other))


def test_line_ends_are_not_written():
    logits = torch.zeros(2, VOCABULARY)
    logits[:, LINE_END], logits[:, 65] = 50.0, 1.0
    assert choose(logits, [True, True], [0, 1], Sampling(temperature=0)) == [65, 65]
    drawn = choose(logits.repeat(50, 1), [True] * 100, list(range(100)), Sampling(temperature=1.0))
    assert LINE_END not in drawn and bytes([LINE_END]).decode("utf-8", "ignore") == ""


def test_the_layout_and_the_order_are_fuyus():
    """`FuyuProcessor` says where line ends stand, `FuyuForCausalLM` which position sees which."""
    transformers = pytest.importorskip("transformers")
    from transformers.models.fuyu.processing_fuyu import FuyuProcessor

    rows, columns = 3, 4
    words = FuyuProcessor.replace_image_token(
        SimpleNamespace(image_token="p", image_newline_token="n"), {}, 0, num_patches=12, row_width=columns
    )
    cut = lines(rows, columns)
    assert words.removesuffix("<s>") == "".join("n" if token else "p" for token in cut.words)
    text = {
        "model_type": "persimmon",
        "vocab_size": 260,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    }
    torch.manual_seed(0)
    config = transformers.FuyuConfig(
        text_config=text, hidden_size=32, vocab_size=260, patch_size=2, num_channels=3, image_token_id=250
    )
    fuyu = transformers.FuyuForCausalLM(config).eval()
    inputs = torch.randn(1, len(cut.block), 32, requires_grad=True)
    logits = fuyu(inputs_embeds=inputs).logits[0].sum(-1)
    seen = torch.stack(
        [torch.autograd.grad(one, inputs, retain_graph=True)[0][0].abs().sum(-1) > 0 for one in logits]
    )
    block = torch.from_numpy(cut.block)
    nothing = torch.zeros_like(block)
    labels = Labels(*(nothing if name != "block" else block for name in Labels._fields))
    query, key = (Labels(*(x[:, None] for x in labels)), Labels(*(x[None] for x in labels)))
    assert torch.equal(seen, mask.allowed(query, key)) and len(seen) == rows * (columns + 1)


def test_patches_stand_in_fuyus_order():
    """Equal to `patchify_image`, but for the order of the values of a patch."""
    fuyu = pytest.importorskip("transformers.models.fuyu.image_processing_pil_fuyu")
    from transformers.image_utils import SizeDict

    pixels = picture(3, 4).pixels[None]
    theirs = fuyu.FuyuImageProcessorPil.patchify_image(
        SimpleNamespace(patch_size=None), pixels[0].numpy(), SizeDict(height=2, width=2)
    )
    ours = ((RawPatches(2).encode(pixels)[0] + 1) * 127.5).round()
    assert np.array_equal(np.sort(theirs.reshape(12, 12), -1), ours.sort(-1).values.numpy())


# ------------------------------------------------------------------------------------ what is and is not seen


@pytest.mark.parametrize("line_ends", [True, False])
def test_a_patch_sees_those_before_it_alone(line_ends):
    built = model(line_ends=line_ends)
    shown = picture(2, 3)
    pixels = shown.pixels.clone()
    pixels[:, 2:4, 2:4] = 255 - pixels[:, 2:4, 2:4]  # the patch in the second row, second column
    hidden, changed = (
        built.read(packed(built, document(one))) for one in (shown, replace(shown, pixels=pixels))
    )
    at = 2 + 3 + line_ends + 1
    assert torch.equal(hidden[:at], changed[:at])
    assert (hidden[at:] != changed[at:]).any(-1).all()


def test_all_patches_of_a_picture_see_each_other_in_picture_order():
    built = model(ordered=False)
    shown = picture(2, 3)
    pixels = shown.pixels.clone()
    pixels[:, 2:, 4:] = 255 - pixels[:, 2:, 4:]  # the last patch
    hidden, changed = (
        built.read(packed(built, document(one))) for one in (shown, replace(shown, pixels=pixels))
    )
    assert torch.equal(hidden[:2], changed[:2]) and (hidden[2:] != changed[2:]).any(-1).all()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("line_ends", [True, False])
def test_another_order_of_the_rows_is_another_text(ordered, line_ends):
    built, shown = model(ordered, line_ends), picture()
    rows = shown.pixels.unflatten(1, (3, 2))[:, [2, 0, 1]].flatten(1, 2)
    assert (
        abs(text_nats(built, document(shown)) - text_nats(built, document(replace(shown, pixels=rows))))
        > 1e-4
    )


def test_without_order_and_line_ends_it_is_how_other_heads_read():
    """Token for token: the same positions, hidden vectors, text loss and gradients as a diffusion head whose
    linear layer has its clock at time 0 added."""
    diffusion = tiny_model("transformer", width=WIDTH)
    plain = model(ordered=False, line_ends=False)
    plain.load_state_dict(diffusion.state_dict(), strict=False)
    with torch.no_grad():
        clock = diffusion.head.clock(time_features(torch.zeros(1)))[0]
        plain.head.into.weight.copy_(diffusion.head.into.weight)
        plain.head.into.bias.copy_(diffusion.head.into.bias + clock)
    documents = [document(picture()), document(picture(2, 2, seed=1))]
    batches = [packed(built, *documents) for built in (diffusion, plain)]
    for name in ("tokens", "patch_at", "predict_at", "predict", "position"):
        assert torch.equal(*(getattr(batch, name) for batch in batches)), name
    assert all(torch.equal(*pair) for pair in zip(*(batch.labels for batch in batches)))
    torch.testing.assert_close(plain.read(batches[1]), diffusion.read(batches[0]), atol=1e-5, rtol=1e-5)
    losses = [joint_loss(built, batch) for built, batch in zip((diffusion, plain), batches)]
    torch.testing.assert_close(losses[1].text, losses[0].text, atol=1e-6, rtol=1e-6)
    for one in losses:
        one.total.backward()
    torch.testing.assert_close(plain.words.weight.grad, diffusion.words.weight.grad, atol=1e-5, rtol=1e-5)
    assert lines(3, 4, False, False).block.tolist() == one_block(3, 4).block.tolist()


def test_the_image_head_gets_no_gradient():
    """Of a diffusion head that only reads the output learns nothing; a reading head has none."""
    diffusion, reading = tiny_model("transformer", width=WIDTH), model()
    for built in (diffusion, reading):
        loss = joint_loss(built, packed(built, document(picture())))
        assert loss.image == 0
        loss.total.backward()
        assert built.head.into.weight.grad.abs().sum() > 0  # patches learn by the text behind them
    assert all(not p.grad.abs().sum() for p in diffusion.head.out.parameters())
    assert [name for name, _ in reading.head.named_parameters()] == ["into.weight", "into.bias"]


def test_a_document_that_would_draw_is_read():
    built, shown = model(), picture()
    one = document(shown)
    drawn = [replace(item, draw=True, key=3) if isinstance(item, Picture) else item for item in one]
    losses = [joint_loss(built, packed(built, each)) for each in (one, drawn)]
    assert losses[0].text == losses[1].text and losses[1].image == 0


# ---------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("ordered", [True, False])
def test_text_behind_pictures_is_the_same_with_a_cache(ordered):
    built = model(ordered)
    prompts = [
        [BOS, IMAGE, picture(2, 3, n), END_IMAGE, IMAGE, picture(1, 2, n), END_IMAGE] for n in range(3)
    ]
    settings = Sampling(max_text=6, max_pictures=0, temperature=1.0, size=(4, 4), context=64)
    keys = [5, 6, 7]
    written = generate(built, prompts, keys, settings)
    expected = reference.generate(built, prompts, keys, settings)
    assert [one[7:] for one in written] == [one[7:] for one in expected]
    assert all(IMAGE not in one[7:] and LINE_END not in one[7:] for one in written)


def test_it_draws_nothing():
    with pytest.raises(ConfigError, match="head.kind = reading reads pictures and draws none"):
        model().head.draw(None, [0], (2, 2))


# --------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("line_ends, positions", [(True, 20), (False, 16)])
def test_settings_know_how_many_positions_there_are(line_ends, positions):
    config = presets.load("digits", [f"head={{kind: reading, line_ends: {line_ends}}}", "data.read=1"])
    built = build.model(config, "meta")
    assert config.positions(8, 8) == len(built.blocks(8, 8).block) == positions
    assert isinstance(built.head, ReadingHead) and built.head.ordered


def test_a_model_that_only_reads_wants_documents_that_read():
    with pytest.raises(ConfigError, match="head.kind = reading draws no pictures, and data.read = 0.5"):
        presets.load("digits", ["head={kind: reading}"])


def test_the_patches_of_integers_cannot_be_read():
    with pytest.raises(ConfigError, match="head.kind = reading learns vectors"):
        presets.load("digits", ["head={kind: reading}", "codec={kind: subpixels}", "data.read=1"])
