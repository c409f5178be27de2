"""Metrics against other implementations, closed forms and cases with obvious results."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.functional.text import edit_distance
from torchmetrics.image.kid import poly_mmd

from rawmm_cli.evaluation import judges
from rawmm_cli.metrics import codes, features, mobilenet, pixels, text
from rawmm_cli.system.errors import ConfigError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pair(size=(40, 52), count=3, noise=20):
    """Smooth pictures with noise, and without."""
    ramps = torch.linspace(0, 200, size[1]).expand(count, 3, *size) + 20 * torch.rand(
        count, 3, 1, 1, generator=generator()
    )
    other = ramps + noise * torch.randn(ramps.shape, generator=generator(1))
    return [image.round().clamp(0, 255).to(torch.uint8) for image in (other, ramps)]


# ----------------------------------------------------------------------------------------------------- pixels


def test_psnr_and_ssim_equal_scikit_images():
    back, before = pair()
    one, other = (images.permute(0, 2, 3, 1).numpy() for images in (back, before))
    for n in range(len(one)):
        reference = peak_signal_noise_ratio(other[n], one[n], data_range=255)
        assert float(pixels.psnr(back, before)[n]) == pytest.approx(reference, abs=1e-4)
        reference = structural_similarity(
            other[n],
            one[n],
            data_range=255,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert float(pixels.ssim(back, before)[n]) == pytest.approx(reference, abs=1e-4)


def test_ssim_equals_torchmetrics_except_at_the_edges():
    back, before = pair()
    _, full = structural_similarity_index_measure(
        back.double(), before.double(), data_range=255.0, return_full_image=True
    )
    assert pixels.ssim(back, before).tolist() == pytest.approx(
        full[..., 5:-5, 5:-5].flatten(1).mean(1).tolist(), abs=1e-5
    )


@pytest.mark.parametrize("ground", [255, 128, 0])
def test_ssim_of_a_page_of_text(ground):
    """In large flat regions a variance is the small difference of large numbers."""
    before = torch.full((4, 3, 48, 64), ground, dtype=torch.uint8)
    before[:, :, 20:30, 10:50] = torch.randint(0, 256, (4, 3, 10, 40), generator=generator()).to(torch.uint8)
    before[2:, :, 36:] = 255 - ground
    back = (
        (before.int() + torch.randint(-2, 3, before.shape, generator=generator(1)))
        .clamp(0, 255)
        .to(torch.uint8)
    )
    back[:2] = before[:2]
    back[:2, :, 0, 0] = 77
    _, full = structural_similarity_index_measure(
        back.double(), before.double(), data_range=255.0, return_full_image=True
    )
    assert pixels.ssim(back, before).tolist() == pytest.approx(
        full[..., 5:-5, 5:-5].flatten(1).mean(1).tolist(), abs=1e-5
    )


def test_ssim_in_strips(monkeypatch):
    back, before = pair()
    whole = pixels.ssim(back, before).tolist()
    monkeypatch.setattr(pixels, "STRIP", 3 * 3 * 52 * 7)  # seven rows at a time
    assert pixels.ssim(back, before).tolist() == pytest.approx(whole, abs=1e-6)


def test_single_and_very_small_pictures():
    back, before = pair(count=1)
    assert pixels.ssim(back, before).shape == (1,)
    assert pixels.ssim(before, before).tolist() == [1]
    assert pixels.ssim(back[:, :, :10], before[:, :, :10]).isnan().all()
    assert pixels.sharpness(back[:, :, :1, :1], before[:, :, :1, :1]).isnan().all()


def test_shares_of_exact_values_and_pixels():
    before = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    back = before.clone()
    back[0, 0, 0, 0], back[0, 1, 0, 0] = 12, 12
    assert pixels.exact_values(back, before).tolist() == [10 / 12, 1] and pixels.exact_pixels(
        back, before
    ).tolist() == [3 / 4, 1]
    assert pixels.mse(back, before).tolist() == [24, 0] and pixels.psnr(back, before)[1] == math.inf


def test_known_sharpness():
    """Twice the contrast has four times the energy; a blurred picture has less than before; a flat one has no
    edges, so its sharpness is undefined."""
    before = torch.randint(50, 150, (2, 3, 16, 16), generator=generator()).to(torch.uint8)
    assert pixels.sharpness(before, before).tolist() == [1, 1]
    assert pixels.sharpness((2 * before.int() - 50).to(torch.uint8), before).tolist() == pytest.approx([4, 4])
    blurred = torch.nn.functional.avg_pool2d(before.float(), 3, 1, 1).to(torch.uint8)
    assert (pixels.sharpness(blurred, before) < 0.5).all()
    flat = torch.full((1, 3, 8, 8), 7, dtype=torch.uint8)
    assert pixels.sharpness(flat, flat).isnan().all()


# ------------------------------------------------------------------------------------------------------ codes


def test_entropy_of_known_codes():
    assert codes.entropy(torch.tensor([1000] * 8)) == pytest.approx(3)
    assert codes.entropy(torch.tensor([5000, 0, 0, 0])) == pytest.approx(0)
    assert codes.entropy(torch.tensor([1, 1])) == 1  # never above log2 V
    counts = torch.tensor([900, 50, 50])
    plain = -sum(p * math.log2(p) for p in (0.9, 0.05, 0.05))
    assert codes.entropy(counts) == pytest.approx(plain + 2 / (2000 * math.log(2)))
    assert codes.enough(torch.tensor([10] * 8)) and not codes.enough(torch.tensor([9] * 8))


def test_miller_and_madow_correct_most_of_the_bias():
    """Uniform codes of 3 bits, in samples of 40."""
    samples = torch.randint(0, 8, (400, 40), generator=generator())
    counts = [torch.bincount(row, minlength=8) for row in samples]
    plain = np.mean([-sum(p * math.log2(p) for p in (row / 40).tolist() if p) for row in counts])
    assert abs(np.mean([codes.entropy(row) for row in counts]) - 3) < 0.4 * abs(plain - 3)


# ------------------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize(
    "one, other, distance",
    [
        ("", "", 0),
        ("abc", "", 3),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("intention", "execution", 5),
        ("same", "same", 0),
    ],
)
def test_known_edit_distances(one, other, distance):
    assert text.edit_distance(one, other) == text.edit_distance(other, one) == distance


def test_edit_distances_are_those_of_the_table_of_prefixes():
    """Wagner and Fischer 1974, and torchmetrics, on random texts of few letters; some longer than a machine
    word."""
    rng = np.random.default_rng(0)
    for longest in (3, 9, 200):
        for _ in range(30):
            one, other = ("".join(rng.choice(list("abü "), rng.integers(longest + 1))) for _ in range(2))
            row = list(range(len(other) + 1))
            for letter in one:
                above, row[0] = row[0], row[0] + 1
                for m, other_letter in enumerate(other, 1):
                    above, row[m] = row[m], min(row[m] + 1, row[m - 1] + 1, above + (letter != other_letter))
            known = edit_distance([one], [other], reduction="sum")
            assert text.edit_distance(one, other) == row[-1] == int(known)


def test_survival_of_text_and_words():
    assert text.survival("hello  wor1d\n", "hello world") == pytest.approx(10 / 11)
    assert (
        text.survival("", "") == 1 and text.survival("", "abc") == 0 and text.survival("x" * 99, "abc") == 0
    )
    assert text.words("the cat the", "the the dog") == pytest.approx(2 / 3) and text.words("", "a") == 0
    assert (
        text.readable("| ~ .. cat")
        and text.readable("über 42")
        and not text.readable("| ~ a1 _ ab")
        and not text.readable("")
    )


def test_rank_correlation_equals_scipys():
    rows = np.random.default_rng(0).integers(0, 5, (20, 2, 7)).tolist()
    for one, other in rows:
        assert text.spearman(one, other) == pytest.approx(spearmanr(one, other).statistic, nan_ok=True)
    assert text.spearman([1, 2, 3], [10, 100, 1000]) == pytest.approx(1) and math.isnan(
        text.spearman([1, 1, 1], [1, 2, 3])
    )


# --------------------------------------------------------------------------------------------------- features


def test_kid_equals_torchmetrics():
    real, drawn = (
        torch.randn(40, 24, generator=generator()),
        0.3 + torch.randn(40, 24, generator=generator(1)),
    )
    reference = poly_mmd(real.double(), drawn.double())  # degree 3, gamma 1 / d, coefficient 1
    assert features.kid(drawn, real) == pytest.approx(float(reference), abs=1e-9)


def test_paired_kid_of_equal_sets_is_0_and_of_large_sets_near_kid():
    real = torch.randn(30, 16, generator=generator())
    assert (
        features.kid(real, real, paired=True) == pytest.approx(0, abs=1e-9)
        and features.kid(real, real) < -0.05
    )
    many = torch.randn(2000, 8, generator=generator())
    shifted = many + 0.5
    assert features.kid(shifted, many, paired=True) == pytest.approx(features.kid(shifted, many), rel=0.05)


def test_kid_of_judges_does_not_depend_on_the_scale_of_features():
    real, drawn = torch.rand(50, 8, generator=generator()), torch.rand(40, 8, generator=generator(1)) + 0.2
    assert judges.kid(drawn, real) == pytest.approx(judges.kid(100 * drawn, 100 * real))
    scale = real.double().square().mean().sqrt()
    assert judges.kid(drawn, real) == features.kid(drawn.double() / scale, real.double() / scale)


def test_distance_of_layers():
    """Channels are normalised: only the angle counts, and opposite ones have distance 4."""
    one = [torch.randn(2, 5, 4, 4, generator=generator()), torch.randn(2, 3, 2, 2, generator=generator(1))]
    assert features.layers(one, [3 * x for x in one]).tolist() == pytest.approx([0, 0], abs=1e-12)
    assert features.layers(one, [-x for x in one]).tolist() == pytest.approx([4, 4])


# -------------------------------------------------------------------------------------------------- MobileNet


def test_mobilenet_has_the_parameters_of_torchvisions():
    """3,504,872 of them, with the names of torchvision's state dict."""
    network = mobilenet.MobileNetV2()
    assert sum(p.numel() for p in network.parameters()) == 3_504_872
    assert {
        "features.0.0.weight",
        "features.1.conv.1.weight",
        "features.2.conv.2.weight",
        "features.17.conv.3.running_var",
        "features.18.1.bias",
        "classifier.1.weight",
    } <= set(network.state_dict())
    pooled, layers = network.eval()(torch.zeros(2, 3, 20, 30, dtype=torch.uint8))
    assert pooled.shape == (2, 1280) and [x.shape[1] for x in layers] == [16, 24, 32, 96, 320]


def test_weights_from_a_file(tmp_path):
    from safetensors.torch import save_file

    network = mobilenet.MobileNetV2()
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    read = mobilenet.load(tmp_path / "w.safetensors", 96)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in read.state_dict().items())
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "x.pth").write_bytes(b"no weights")
    for name, message in (
        ("none.pth", "cannot be read"),
        ("other.safetensors", "holds no weights"),
        ("x.pth", "SHA-256 differs"),
    ):
        with pytest.raises(ConfigError, match=message):
            mobilenet.load(tmp_path / name, 96)


@pytest.mark.skipif(mobilenet.weights() is None, reason=f"{mobilenet.PACKAGE} is not installed")
def test_the_real_weights_recognise_a_palace():
    from sklearn.datasets import load_sample_image

    network = mobilenet.load(mobilenet.weights(), 224)
    pooled, _ = network(torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)[None])
    assert 698 in network.classifier(pooled.clone()).topk(3).indices[0]  # palace
