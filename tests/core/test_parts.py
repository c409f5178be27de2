"""The same questions to every head x backbone x codec that goes together: those of the package, and toys of
kinds that it does not have yet (`toy_parts.py`).

A new part is one line in `helpers.py`."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
import toy_parts
from combinations import (
    CODECS,
    COMBINATIONS,
    DEPTH,
    HEADS,
    WIDTH,
    corrupted,
    drawn,
    every_combination,
    every_head,
    made,
    packed,
)
from helpers import hidden_of, positions_of, random_documents
from safetensors.torch import load, save
from torch.utils.flop_counter import FlopCounterMode

from rawmm_cli.core import flops, layers, parts, reference
from rawmm_cli.core.baselines.denoiser import Denoiser
from rawmm_cli.core.batch import layout, pack, size
from rawmm_cli.core.denoising import Denoising, Drawing
from rawmm_cli.core.document import Canvas, Picture
from rawmm_cli.core.drawing import Sampling, draw
from rawmm_cli.core.generate import generate
from rawmm_cli.core.heads.autoregressive import AutoregressiveHead
from rawmm_cli.core.heads.scales import ScalesHead
from rawmm_cli.core.loss import Shares, joint_loss
from rawmm_cli.core.mask import dense
from rawmm_cli.core.text_tokenizer import BOS, END_IMAGE, EOS, IMAGE, encode
from rawmm_cli.system.errors import ConfigError

CLOSE = {"atol": 1e-5, "rtol": 1e-5}  # fp32, another order of summation
CONVOLVED = {"atol": 3e-4, "rtol": 3e-4}  # the same of the convolutions of a codec


# ------------------------------------------------------------------------------------------- the interfaces


def conforms(part, interface):
    """Attributes are there, and methods take what the interface says, by the same names."""
    for name in interface.__annotations__:
        assert hasattr(part, name), f"{type(part).__name__} has no {name}"
    for name, method in inspect.getmembers(interface, inspect.isfunction):
        if not name.startswith("_"):
            wanted = [p for p in inspect.signature(method).parameters if p != "self"]
            taken = inspect.signature(getattr(part, name)).parameters.values()
            assert len(wanted) == len(taken), f"{type(part).__name__}.{name} takes {len(taken)} arguments"
            if name in ("draw", "forward"):  # called by their names
                assert wanted == [p.name for p in taken], f"{type(part).__name__}.{name}"
            needed = sum(p.default is p.empty for p in taken)
            given = [p for p in inspect.signature(method).parameters.values() if p.default is p.empty]
            assert needed <= len(given) - 1, f"{type(part).__name__}.{name} needs {needed} arguments"


@pytest.mark.parametrize("name", CODECS)
def test_a_codec_conforms(name):
    codec = CODECS[name]()
    conforms(codec, parts.Codec)
    conforms(codec, parts.DiscreteCodec if codec.discrete else parts.ContinuousCodec)


@every_combination
def test_a_head_and_a_backbone_conform(combination):
    model = made(combination)
    conforms(model.head, parts.Head)
    conforms(model.backbone, parts.Backbone)
    assert len(model.backbone.layers) == DEPTH


def test_a_part_that_lacks_something_is_caught():
    class Headless:
        reads_ahead = False

        def blocks(self, rows):
            return None

    with pytest.raises(AssertionError, match="Headless"):
        conforms(Headless(), parts.Head)


@pytest.mark.parametrize("height, width", [(2, 2), (4, 6), (6, 4)])
@pytest.mark.parametrize("name", CODECS)
def test_a_codec_gives_tokens_and_takes_them_back(name, height, width):
    codec = CODECS[name]().eval()
    images = torch.randint(0, 256, (3, 3, height, width), dtype=torch.uint8)
    tokens, (rows, columns) = codec.encode(images), codec.grid(height, width)
    assert rows * columns > 0 and tokens.shape[:2] == (3, codec.tokens(height, width)) and tokens.ndim == 3
    if codec.discrete:
        assert tokens.dtype == torch.int64 and tokens.shape[2] == codec.codes
        assert 0 <= tokens.min() and tokens.max() < codec.vocabulary
    else:
        assert tokens.dtype == torch.float32 and tokens.shape[2] == codec.values
    back = codec.decode(tokens, rows)
    assert back.dtype == torch.uint8 and back.shape == images.shape and not tokens.requires_grad
    other = 0 if name == "subpixels" else width + 1  # a side that does not fit
    with pytest.raises(ValueError, match=f"{height}x{other}"):
        codec.grid(height, other)


@every_combination
def test_blocks_begin_at_zero_never_fall_and_are_the_same_object(combination):
    model = made(combination)
    for sides in ((2, 2), (4, 6)):
        blocks = model.blocks(*sides)
        assert blocks is model.blocks(*sides) and blocks.grid == model.codec.grid(*sides)
        steps = np.diff(blocks.block)
        assert blocks.block[0] == 0 and ((steps == 0) | (steps == 1)).all()
        assert blocks.place.shape == (len(blocks.block), 2)
        (rows, columns), place = blocks.grid, blocks.place
        assert place.min() >= 0 and (place.max(0) <= (rows - 1, columns - 1)).all()


@every_combination
def test_shapes(combination):
    model = made(combination)
    batch = packed(model)
    seen = corrupted(model, batch)
    positions, pictures = len(batch.patch_at), len(batch.pictures.drawn)
    assert len(seen.inputs) == len(seen.target) == len(seen.weight) == positions
    assert seen.time.shape == (pictures,) and seen.weight.shape == (positions,)
    hidden = model(batch, seen.inputs, seen.time)
    assert hidden.shape == (batch.tokens.numel(), WIDTH) and hidden.isfinite().all()
    assert len(model.predictions(hidden, batch)) == positions
    losses = joint_loss(model, batch)
    assert all(loss.shape == () and loss.dtype == torch.float32 and loss.isfinite() for loss in losses)
    assert losses.image > 0
    assert (seen.time[~batch.pictures.drawn] == 0).all() and (seen.weight[~drawn(batch)] == 0).all()


@every_combination
def test_pictures_of_many_sizes_or_none(combination):
    model = made(combination)
    for documents in ([], [[BOS, *encode("ab"), EOS]], random_documents(1, 3)):
        losses = joint_loss(model, pack(documents, 64, model.blocks))
        losses.total.backward()
        assert losses.total.isfinite() and all(
            p.grad is not None for p in model.parameters() if p.requires_grad
        )


def test_a_head_that_modulates_needs_layers_that_can_be_modulated():
    with pytest.raises(ConfigError, match="DiffusionHead modulates the backbone .* of GAU cannot be modu"):
        made(("modulating", "gau", "raw"))
    with pytest.raises(ConfigError, match="Transformer are modulated, and DiffusionHead gives nothing"):
        made(("clean", "modulated", "raw"))


# -------------------------------------------------------------------------------------------- who sees whom


def changed(before, after):
    return (before != after).any(-1).nonzero()[:, 0].tolist()


def another(inputs, at):
    """The same inputs, another one at one position: a small other code, or one more."""
    other = inputs.clone()
    other[at] = (other[at] + 1) % 2 if inputs.dtype == torch.int64 else other[at] + 1
    return other


def assert_nothing_leaks(model):
    """Another token, or another input of a picture, at one position: what moves is what may see it."""
    batch = packed(model)
    seen, allowed = corrupted(model, batch), dense(batch.labels)[:, 0] == 0  # (B, L, L)
    before = hidden_of(model, batch, seen.inputs, seen.time)
    length, labels = batch.tokens.shape[1], [label.flatten() for label in batch.labels]
    picture_at = {at: n for n, at in enumerate(batch.patch_at.tolist())}
    for at in sorted({*range(0, batch.tokens.numel(), 7), *list(picture_at)[::3]}):
        row, column = divmod(at, length)
        inputs, tokens = seen.inputs, batch.tokens.clone()
        if at in picture_at:
            inputs = another(inputs, picture_at[at])
            token = getattr(model.head, "time", "") == "token"
            if token and batch.pictures.index[picture_at[at]] == 0:
                continue  # its input is the time
        else:
            tokens.view(-1)[at] = (tokens.view(-1)[at] + 1) % 256
        moved = changed(before, hidden_of(model, replace(batch, tokens=tokens), inputs, seen.time))
        may = (row * length + allowed[row, :, column].nonzero()[:, 0]).tolist()
        own = [place for place in may if all(label[place] == label[at] for label in labels[:2])]
        unseen = isinstance(model.head, Denoiser) and at in picture_at  # its inputs are not in the sequence
        assert set(() if unseen else own) <= set(moved) <= set(() if unseen else may), at


@every_combination
def test_nothing_leaks(combination):
    assert_nothing_leaks(made(combination))


@every_head
def test_gradients_flow_only_where_the_mask_allows(combination):
    """To inputs of other documents, of padding, of what comes later: zero to the bit."""
    model, inputs = made(combination), []
    batch = packed(model, 8)
    seen, allowed = corrupted(model, batch), dense(batch.labels)[:, 0] == 0  # (B, L, L)
    model.backbone.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    hidden, length = model(batch, seen.inputs, seen.time), batch.tokens.shape[1]
    for at in range(0, batch.tokens.numel(), 5):
        row, column = divmod(at, length)
        (gradient,) = torch.autograd.grad(hidden[at].sum(), inputs[0], retain_graph=True)  # (B, L, D)
        reached, may = gradient.abs().sum(-1) > 0, torch.zeros(batch.tokens.shape, dtype=torch.bool)
        may[row] = allowed[row, column]
        assert not (reached & ~may).any() and reached[row, column]


def sees_all(labels):
    return torch.zeros_like(dense(labels))


def causal(labels):
    return torch.full_like(dense(labels), -torch.inf).triu(1)


def forgets_private(labels):
    return dense(labels._replace(private=torch.zeros_like(labels.private)))


@pytest.mark.parametrize("wrong", [sees_all, causal, forgets_private])
@pytest.mark.parametrize("head", ["clean", "scales"])
@pytest.mark.parametrize("backbone", ["gau", "transformer"])
def test_a_wrong_mask_is_caught(backbone, head, wrong):
    """A test of the test above. Plain causal attention leaks between the documents of a row."""
    model = made((head, backbone, HEADS[head].codecs[0]))
    model.make_mask = wrong
    with pytest.raises(AssertionError):
        assert_nothing_leaks(model)


@every_head
def test_a_fresh_model_would_hide_every_leak(combination):
    """Why noise is added to all parameters."""
    with pytest.raises(AssertionError):
        assert_nothing_leaks(made(combination, std=0))


@every_combination
def test_text_does_not_depend_on_the_time_of_a_picture_that_is_drawn(combination):
    """Text that stands before it, other documents, what follows a clean copy: bit for bit the same."""
    model = made(combination)
    batch = packed(model)
    seen = corrupted(model, batch)
    later = (seen.time + 0.1 * batch.pictures.drawn).clamp(max=1)
    moved = set(
        changed(hidden_of(model, batch, seen.inputs, seen.time), hidden_of(model, batch, seen.inputs, later))
    )
    label = [label.flatten() for label in batch.labels]
    reachable = set()
    for at in batch.patch_at[drawn(batch)].tolist():  # the picture itself, and what follows one that is last
        same = (label[0] == label[0][at]) & (label[1] >= label[1][at])
        private = same & (label[1] == label[1][at])
        reachable |= set((private if label[2][at] else same).nonzero()[:, 0].tolist())
    assert moved <= reachable
    own = set(batch.patch_at[drawn(batch)].tolist())
    timeless = isinstance(model.head, (toy_parts.CodeHead, AutoregressiveHead, ScalesHead, Denoiser))
    if timeless or getattr(model.head, "time", "") == "none":
        assert not moved, "no time"
    else:
        assert own <= moved


@every_combination
def test_text_after_a_drawn_picture_sees_it_as_if_it_were_read(combination):
    """Training with a clean copy is what happens at generation, when the finished picture has taken its
    place."""
    model = made(combination)
    for seed in range(4):
        (document,) = random_documents(1, seed + 40)
        finished = [replace(item, draw=False) if isinstance(item, Picture) else item for item in document]
        last = max((n for n, item in enumerate(document) if isinstance(item, Picture)), default=0)
        ends = all(item in (END_IMAGE, EOS) for item in document[last + 1 :])
        training, generating = (pack([one], 96, model.blocks) for one in (document, finished))
        here, there = positions_of(training, 0), positions_of(generating, 0)
        here = here[training.labels.private.flatten()[here] == 0]
        if ends and model.blocks(2, 2).copied:  # the last picture is corrupted in one of them
            text = size(document[:last], model.blocks) if last else len(document)
            text -= int(training.labels.private.sum())
            here, there = here[:text], there[:text]
        one, other = hidden_of(model, training)[here], model.read(generating)[there].detach()
        torch.testing.assert_close(one, other, **CLOSE)


@pytest.mark.parametrize("combination", [c for c in COMBINATIONS if HEADS[c[0]].ordered], ids=", ".join)
def test_the_prediction_of_a_token_does_not_know_it(combination):
    """In a head with an order: another token changes no prediction of its own block or before it."""
    model = made(combination)
    document = [
        BOS,
        *encode("a"),
        IMAGE,
        Picture(torch.randint(0, 256, (3, 4, 4)).byte(), True, 5),
        END_IMAGE,
    ]
    batch = pack([document], 64, model.blocks)
    tokens, block = model.encode(batch), torch.from_numpy(model.blocks(4, 4).block)

    def predictions(tokens):
        seen = model.head.corrupt(tokens, batch.pictures)
        return model.predictions(model(batch, seen.inputs, seen.time), batch).detach()

    before, positions = predictions(tokens), len(block) // len(tokens)  # of a token
    for token in range(len(tokens)):
        for code in range(positions):
            other = tokens.clone()
            other[token, code] += 1
            if model.codec.discrete:
                other[token, code] %= model.codec.vocabulary
            at = token * positions + code
            moved = changed(before, predictions(other))
            assert all(block[place] > block[at] for place in moved)
            assert moved or block[at] == block[-1]


@every_combination
def test_packed_equals_alone(combination):
    """Pictures of many sizes side by side, documents in one row, padding and empty rows change nothing."""
    model, documents = made(combination), random_documents(14, seed=3)
    close = CONVOLVED if list(model.codec.parameters()) else CLOSE
    batch = pack(documents, 96, model.blocks)
    together = hidden_of(model, batch)
    for number, document in enumerate(documents):
        alone = pack([document], size(document, model.blocks), model.blocks)
        torch.testing.assert_close(together[positions_of(batch, number)], hidden_of(model, alone), **close)
    shuffled = pack([documents[n] for n in np.random.default_rng(0).permutation(14)], 96, model.blocks)
    torch.testing.assert_close(joint_loss(model, batch), joint_loss(model, shuffled), **close)


# -------------------------------------------------------------------------------------- learning and keeping


@every_combination
def test_every_parameter_gets_a_finite_gradient(combination):
    model = made(combination)
    joint_loss(model, packed(model, 10, 6)).total.backward()
    for name, parameter in model.named_parameters():
        if name.startswith("codec."):
            assert parameter.grad is None, f"{name}: a codec inside a model is frozen"
        else:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("count", [2, 5])
@every_head
def test_shares_add_up_to_one_large_batch(combination, count):
    """Losses and gradients of several micro-batches with their shares are those of all documents together."""
    documents, model, other = random_documents(12, seed=3), made(combination), made(combination)
    whole = joint_loss(model, pack(documents, 64, model.blocks), 0.5, 2.0)
    whole.total.backward()
    batches = [pack(documents[n::count], 64, model.blocks) for n in range(count)]
    tokens, positions = (sum(column) for column in zip(*(batch.learned for batch in batches)))
    parts = []
    for batch in batches:
        shares = Shares(batch.learned[0] / tokens, batch.learned[1] / positions)
        losses = joint_loss(other, batch, 0.5, 2.0, shares)
        losses.total.backward()
        parts.append([x.item() for x in losses])
    much = 30.0 if list(model.codec.parameters()) else 1.0
    np.testing.assert_allclose(np.sum(parts, 0), [x.item() for x in whole], rtol=much * 1e-5)
    for (name, p), q in zip(model.named_parameters(), other.parameters()):
        if p.requires_grad:
            torch.testing.assert_close(q.grad, p.grad, rtol=much * 1e-4, atol=much * 1e-6, msg=name)


@every_combination
def test_a_saved_model_is_the_same_model(combination):
    one, other = made(combination, 0), made(combination, 1)
    batch = packed(one, 8, 8)
    assert not torch.equal(hidden_of(one, batch), hidden_of(other, batch))
    other.load_state_dict(load(save(one.state_dict())))
    assert torch.equal(hidden_of(one, batch), hidden_of(other, batch))
    assert [x.item() for x in joint_loss(one, batch)] == [x.item() for x in joint_loss(other, batch)]


@every_combination
def test_what_it_multiplies_is_what_torch_counts(combination, monkeypatch):
    monkeypatch.setattr(layers, "SHORT", 1 << 30)  # the counter does not know the fused kernel of a CPU
    model = made(combination)
    if isinstance(model.head, Denoiser):
        pytest.skip("its network works where the loss is: test_unet.py")
    batch = packed(model, 6)
    seen = corrupted(model, batch)

    def work():
        hidden = model(batch, seen.inputs, seen.time)
        return model.text(hidden, batch.predict_at).sum() + model.predictions(hidden, batch).sum()

    sizes = *batch.tokens.shape, len(batch.pictures.drawn), len(batch.patch_at), len(batch.predict)
    with FlopCounterMode(display=False) as forward:
        total = work()
    assert forward.get_total_flops() == sum(flops.forward(model, *sizes).values())
    with FlopCounterMode(display=False) as backward:
        total.backward()
    step = flops.step(model, *sizes)
    assert step == forward.get_total_flops() + backward.get_total_flops() == flops.training(model, batch)


# ------------------------------------------------------------------------------------------------- drawing


def sampling(model, **settings):
    drawing = Drawing(steps=3) if isinstance(model.head, Denoising) else None  # None: the head's own
    return replace(Sampling(size=(4, 6), max_text=6, max_pictures=2, drawing=drawing), **settings)


def prompts():
    rng = np.random.default_rng(0)
    shown = Picture(torch.from_numpy(rng.integers(0, 256, (3, 2, 4), dtype=np.uint8)), False)
    return [
        [BOS, *encode("a bird"), IMAGE],
        [BOS, IMAGE],
        [BOS, IMAGE, shown, END_IMAGE, *encode("and"), IMAGE],
        [BOS, *encode("x")],
    ]


def assert_same(result, expected):
    """Tokens equal; pixels within a level of 255: fp32, sums in another order."""
    for one, other in zip(result, expected, strict=True):
        assert [type(item) for item in one] == [type(item) for item in other]
        for a, b in zip(one, other):
            if isinstance(a, Picture):
                assert not a.draw and (a.pixels.int() - b.pixels.int()).abs().max() <= 1
            else:
                assert a == b


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@every_combination
def test_the_cached_generator_is_the_uncached_one(combination, guidance):
    model = made(combination)
    with torch.no_grad():
        model.text_out.weight[IMAGE] *= 3  # pictures are opened often
    settings, keys = sampling(model, guidance=guidance), [5, 6, 7, 8]
    result = generate(model, prompts(), keys, settings)
    assert_same(result, reference.generate(model, prompts(), keys, settings))
    assert sum(isinstance(item, Picture) for document in result for item in document) >= 4


@every_combination
def test_a_drawing_depends_on_its_own_prompt_and_key(combination):
    model, documents = made(combination), prompts()[:3]
    settings = sampling(model, guidance=1.5)
    together = draw(model, documents, [1, 2, 3], settings)
    for document, k, picture in zip(documents, (1, 2, 3), together):
        assert_same([draw(model, [document], [k], settings)], [[picture]])
        assert picture.pixels.shape == (3, 4, 6) and picture.pixels.dtype == torch.uint8
    other = draw(model, documents[:1], [9], settings)[0]
    assert not torch.equal(other.pixels, together[0].pixels), "another key, another picture"


@every_head
def test_guidance_does_nothing_where_there_is_no_condition(combination):
    model = made(combination)
    plain = draw(model, [[BOS, IMAGE]] * 2, [1, 2], sampling(model))
    guided = draw(model, [[BOS, IMAGE]] * 2, [1, 2], sampling(model, guidance=3.0))
    assert_same([guided], [plain])


@every_head
def test_what_lies_outside_a_mask_stays_to_the_bit(combination):
    """Or the head says that it cannot paint in."""
    model = made(combination)
    pixels = torch.randint(0, 256, (3, 4, 6), dtype=torch.uint8)
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[:, 4:] = True
    arguments = model, [[BOS, IMAGE]], [1], sampling(model), None, Canvas(pixels, mask)
    if combination[0] in ("autoregressive", "patch by patch"):
        with pytest.raises(ConfigError, match="draw.* on"):
            draw(*arguments)
        return
    (picture,) = draw(*arguments)
    assert torch.equal(picture.pixels[:, ~mask], pixels[:, ~mask])
    assert not torch.equal(picture.pixels[:, mask], pixels[:, mask])


@every_combination
def test_the_layout_takes_what_the_blocks_say(combination):
    model = made(combination)
    for document in random_documents(10, seed=4):
        assert size(document, model.blocks) == len(layout(document, model.blocks).tokens)
