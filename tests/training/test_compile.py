import copy
import os
from functools import partial

import pytest
import torch
from helpers import hidden_of, random_documents, randomised, tiny_head

from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.config import build, presets
from rawmm_cli.core import mask
from rawmm_cli.core.backbones.transformer import Transformer
from rawmm_cli.core.batch import pack
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.core.model import RawModel
from rawmm_cli.core.text_tokenizer import VOCABULARY
from rawmm_cli.training.clock import Clock
from rawmm_cli.training.compile import _keep_apart, compile_layers, compiling, recompute_layers


def test_without_a_compiler_training_stays_eager(monkeypatch):
    model = build.model(presets.load("tiny"), "meta")
    monkeypatch.setitem(os.environ, "CXX", "no-such-compiler")
    messages = []
    assert not compile_layers(model, "auto", torch.device("cpu"), messages.append)
    assert messages == ["no C++ compiler (g++) found: training runs uncompiled, about half as fast"]
    assert not compile_layers(model, "no", torch.device("cpu"), messages.append) and len(messages) == 1


def test_code_for_limited_vectors_is_kept_apart(monkeypatch):
    name = "TORCHINDUCTOR_CACHE_DIR"
    monkeypatch.setenv(name, "/kept")
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    _keep_apart()
    assert os.environ[name] == "/kept"
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    for _ in range(2):  # a worker has it from its parent
        _keep_apart()
        assert os.environ[name] == "/kept-avx2"


def test_compiling_pays_where_there_is_time(monkeypatch):
    """Four times what it takes, about 30 s on a CPU and 60 on a GPU, must be left of a run by time."""

    def choice(seconds_left, device="cpu", busy=0.0, *words):
        train = presets.load("tiny", ["train.compile=auto", f"train.time={seconds_left}", *words]).train
        clock = Clock(0.0)
        monkeypatch.setattr(clock, "seconds", lambda: 0.0)
        return compiling(train, clock, device, busy, messages.append)

    messages = []
    assert choice(121) == ("auto", 30) and messages == []
    assert choice(119) == ("no", 30)
    assert messages == ["not compiled: that takes about 30 s and pays where 120 s are left"]
    assert choice(200, busy=0.5) == ("no", 60) and choice(241, busy=0.5) == ("auto", 60)
    assert choice(239, "cuda") == ("no", 60) and choice(241, "cuda") == ("auto", 60)
    assert choice(10, "cpu", 0.0, "train.compile=yes") == ("yes", 30)
    forever = presets.load("tiny", ["train.compile=auto"]).train
    assert compiling(forever, Clock(0.0), "cpu", 0.9, messages.append) == ("auto", 90)


FORMS = {
    "skips": ("token", {"skips": True}),
    "all": ("modulation", {"modulated": True, "skips": True, "isolated": 1}),
}


def made(form, make_mask=mask.dense):
    time, settings = FORMS[form]
    torch.manual_seed(0)
    head, backbone = tiny_head(time=time, convolution=2), Transformer(32, 3, 2, 64, **settings)
    return randomised(RawModel(RawPatches(2), head, backbone, make_mask, VOCABULARY, 32), 0.1)


def gradients(model):
    batch = pack(random_documents(8, 1), 96, model.blocks)
    loss = joint_loss(model, batch).total
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_layers_may_be_compiled_and_recomputed(form, recomputed, monkeypatch):
    """Loss and gradients stay; compiled to the graphs that torch hands to its backends."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager", fullgraph=True))
    model = made(form)
    expected = gradients(copy.deepcopy(model))
    recompute_layers(model, recomputed)
    assert compile_layers(model, "yes", torch.device("cpu"), print)
    torch.testing.assert_close(gradients(model), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*flex_attention.*")
def test_isolation_is_the_same_under_both_forms_of_the_mask():
    models = [made("all", form) for form in (mask.dense, mask.flex)]
    batch = pack(random_documents(8, 1), 96, models[0].blocks)
    one, other = (hidden_of(model, batch) for model in models)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
