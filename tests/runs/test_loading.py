import pytest
import torch
from helpers import random_documents, randomised

from rawmm_cli.config import build, presets
from rawmm_cli.core.batch import pack
from rawmm_cli.runs.loading import for_sampling


@pytest.mark.parametrize("kind", ["gau", "transformer"])
def test_ready_for_sampling_it_is_the_same_model(kind):
    model = randomised(build.model(presets.load("tiny", [f"backbone.kind={kind}", "codec.patch=2"])))
    batch = pack(random_documents(4), 64, model.blocks)
    still, weights = (
        torch.zeros(len(batch.pictures.drawn)),
        {name: p.clone() for name, p in model.named_parameters()},
    )
    before = model(batch, model.encode(batch), still)
    torch.testing.assert_close(
        for_sampling(model)(batch, model.encode(batch), still), before, rtol=1e-5, atol=1e-5
    )
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())
    turned = [p for p in model.parameters() if p.ndim == 2 and not p.is_contiguous()]
    assert turned and all(p.shape[0] > p.shape[1] and p.t().is_contiguous() for p in turned)
