"""Round trips of pictures through codecs: measures against second computations, text, files, errors."""

import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import tiny_multiscale
from PIL import Image
from round_trips import CPU, raw, reading, row, run, toy
from toy_codec import Squares

from rawmm_cli.data import pictures
from rawmm_cli.data.images import read_image
from rawmm_cli.metrics import codes, pixels
from rawmm_cli.reconstruction import choices, files, results, summary
from rawmm_cli.reconstruction import findings as sentences
from rawmm_cli.reconstruction.choices import Choice
from rawmm_cli.reconstruction.results import MeanColour, Quantiles, TextBaseline
from rawmm_cli.reconstruction.round_trip import Trip, through
from rawmm_cli.system.errors import ConfigError, DataError

# ---------------------------------------------------------------------------------------------------- numbers


def test_raw_is_exact_whatever_the_picture(folder):
    result = run(folder, [raw()])
    row = result.rows[0]
    assert len(result.each) == 8 and [one.file for one in result.skipped] == [str(folder / "broken.png")]
    assert row.psnr == math.inf and row.exact == row.lossless == row.exact_pixels == 1 and row.padded == 0
    assert row.bits_per_pixel == 24 and row.quantiles["psnr"] == Quantiles(math.inf, math.inf, math.inf)
    assert all(one.codecs["raw"].exact and one.codecs["raw"].psnr == math.inf for one in result.each)
    assert [one.name for one in result.each] == [str(n) for n in range(8)]


def test_distances_of_features(tmp_path):
    """KID equals torchmetrics' over the features of all pictures; `kid_paired` of unchanged pictures is 0."""
    from torchmetrics.image.kid import poly_mmd

    from rawmm_cli.metrics.mobilenet import MobileNetV2

    torch.manual_seed(0)
    network, values = (
        MobileNetV2(32),
        np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), dtype=np.uint8),
    )
    for norm in filter(lambda part: isinstance(part, torch.nn.BatchNorm2d), network.modules()):
        norm.momentum = 1.0  # statistics of one batch, without which features of random weights are 0
    network(torch.from_numpy(values).permute(0, 3, 1, 2))
    network.eval()
    for n, one in enumerate(values):
        Image.fromarray(one).save(tmp_path / f"{n:02d}.png")
    exact, coarse = run(
        tmp_path, [raw(), toy("coarse", Squares(8, 4))], network=network, out=tmp_path / "out"
    ).rows
    back = np.stack([read_image(tmp_path / "out" / "coarse" / f"{n:02d}.png") for n in range(16)])
    before, after = (network(torch.from_numpy(x).permute(0, 3, 1, 2))[0].double() for x in (values, back))
    assert coarse.kid == pytest.approx(float(poly_mmd(before, after)), rel=1e-4) and abs(coarse.kid) > 1e-3
    assert exact.kid_paired == pytest.approx(0, abs=1e-9) and exact.kid < -1e-3
    assert exact.feature_distance == 0 < coarse.feature_distance
    (tmp_path / "out" / "original" / "00.png").unlink()
    few = run(tmp_path / "out" / "original", [raw()], network=network)
    assert few.rows[0].kid is None and few.rows[0].kid_paired is None
    assert (
        "kid" in results.as_json(few)["rows"][0]
    )  # None, as there are few pictures; no key without a network


def test_sums_over_all_pictures(folder):
    """They equal sums computed picture by picture."""
    result, codec = run(folder, [toy()]), Squares()
    row, squares, values, counts = result.rows[0], 0, 0, torch.zeros(16, dtype=torch.long)
    for one in result.each:
        before = torch.from_numpy(read_image(one.file).transpose(2, 0, 1).copy())[None]
        trip = through(codec, before, CPU)
        squares += float((trip.back.double() - before.double()).square().sum())
        values += before.numel()
        counts += torch.bincount(trip.codes.flatten(), minlength=16)
        measures = one.codecs["toy"]
        assert measures.mse == pytest.approx(float(pixels.mse(trip.back, before)))
        assert measures.bits == 4 * measures.tokens
        assert measures.bits_per_pixel == pytest.approx(measures.bits / one.height / one.width)
        assert measures.padded == {"3": (12, 16), "4": (12, 16), "6": (8, 4)}.get(one.name)
    assert row.psnr == pytest.approx(10 * math.log10(255**2 * values / squares), abs=1e-4)
    assert row.used_bits == pytest.approx(codes.entropy(counts) * row.tokens)
    assert row.padded == 3 and row.enough_codes is False
    assert "Pictures that do not fit were padded and cropped back by toy (3)." in result.findings


def test_codes_of_every_scale(folder):
    """Counted by a second loop; and a scale that uses one code has collapsed, which a sentence says."""
    codec, counts = tiny_multiscale((1, 2), shared=False).eval(), {"1x1": [], "2x2": []}
    codec.quantizer.inner.vqs[1]._codebook.embed[0, 1:] = 1e6  # codes that nothing is near to
    result = run(folder, [toy("scales", codec)])
    for one in result.each:
        before = torch.from_numpy(read_image(one.file).transpose(2, 0, 1).copy())[None]
        trip, sides = through(codec, before, CPU), one.codecs["scales"].padded or (one.height, one.width)
        for section in codec.sections(*sides):
            counts[section.name] += trip.codes[0, section.at].tolist()
    sections = result.rows[0].sections
    assert list(sections) == ["1x1", "2x2"]
    assert {name: one.codes_seen for name, one in sections.items()} == {
        name: len(set(part)) for name, part in counts.items()
    }
    assert len(set(counts["1x1"])) > 1 and sections["2x2"].perplexity == 1 and sections["2x2"].collapsed
    assert results.as_json(result)["rows"][0]["sections"] == {name: vars(x) for name, x in sections.items()}
    assert any(sentence.startswith("scales uses, of 16 codes, ") for sentence in result.findings)
    assert any(sentence.startswith("The codes of scales have collapsed at ") for sentence in result.findings)
    assert "sections" not in results.as_json(run(folder, [raw()]))["rows"][0]


def test_threads_change_nothing(folder, monkeypatch):
    """One batch after the other, and four at a time; the threads of torch are as before."""
    monkeypatch.setattr(pictures, "BATCH", 1)
    before, results_of = torch.get_num_threads(), []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            result = run(folder, [toy(), raw()])
            assert torch.get_num_threads() == threads
            results_of.append(
                [
                    [(word, replace(one, milliseconds=0)) for word, one in each.codecs.items()]
                    for each in result.each
                ]
            )
    finally:
        torch.set_num_threads(before)
    assert results_of[0] == results_of[1] and len(results_of[0]) == 8


def test_quantiles_are_values_of_pictures():
    assert summary._quantiles([1.0, 2.0, 3.0, math.inf, math.inf]) == Quantiles(1.0, 3.0, math.inf)
    assert summary._quantiles([float(n) for n in range(101)]) == Quantiles(5, 50, 95)


@pytest.mark.parametrize(
    "trip, message",
    [
        (
            lambda images: Trip(images[:, :, 1:], [1] * len(images), [1.0] * len(images)),
            "returned torch.uint8 of shape",
        ),
        (
            lambda images: Trip(images.float(), [1] * len(images), [1.0] * len(images)),
            "returned torch.float32",
        ),
        (
            lambda images: Trip(
                images, [2] * len(images), [1.0] * len(images), torch.full((len(images), 2), 9)
            ),
            "codes from 9 to 9",
        ),
        (
            lambda images: Trip(
                images, [3] * len(images), [1.0] * len(images), torch.zeros(len(images), 2).long()
            ),
            "returned 2 codes",
        ),
    ],
)
def test_a_codec_with_wrong_shapes_types_or_codes_is_refused(trip, message, folder):
    with pytest.raises(DataError, match=message):
        run(folder, [Choice("wrong", "tokenizer", trip, vocabulary=4)])


def test_batches_hold_every_picture_once_and_one_size_each(folder, monkeypatch):
    monkeypatch.setattr(pictures, "BATCH", 100)
    monkeypatch.setattr(pictures, "WAITING", 150)
    skipped = []
    groups = list(pictures.batches(pictures.read(pictures.find([folder], folder), skipped)))
    assert (
        sorted(picture.index for group in groups for picture in group) == list(range(8)) and len(skipped) == 1
    )
    assert all(len({picture.pixels.shape for picture in group}) == 1 for group in groups)


def findings(*rows, text=None, budgets=()):
    chosen = [Choice(one.codec, one.kind, None, budget=dict(budgets).get(one.codec)) for one in rows]
    colour = MeanColour(12.0, 0.2)
    return "\n".join(sentences.findings(rows, chosen, text, summary.correlation(rows), colour, 9))


def test_a_sharper_but_worse_codec_is_reported():
    sentences = findings(row("vq", 2560, 24.0, 0.5), row("gan", 2560, 22.5, 0.9))
    assert (
        "gan looks sharper than vq (0.90 of the originals' edges against 0.50), whose PSNR is 1.5 dB higher"
        in sentences
    )
    assert "looks sharper" not in findings(row("vq", 2560, 24.0, 0.9), row("fsq", 2560, 22.5, 0.5))
    assert "looks sharper" not in findings(row("vq", 2560, 24.0, 0.5), row("gan", 2560, 24.5, 0.9))


def test_noise_is_not_praised_for_its_edges():
    """Sharper than another codec, and no nearer to the pictures than their mean colours (12 dB, SSIM 0.2)."""
    vq, noise = row("vq", 2560, 24.0, 0.5, ssim=0.6), row("noise", 2560, 8.0, 9.0, ssim=0.01)
    sentences = findings(vq, noise)
    assert "looks sharper" not in sentences and "vq is not trained" not in sentences
    assert (
        "noise is not trained yet, or not for such pictures: by PSNR (8.0 dB against 12.0) and SSIM (0.01 "
        "against 0.20) they come back no nearer than their mean colours are." in sentences
    )
    assert "looks sharper" not in findings(vq, row("jpeg@9", 2560, 22.0, 0.9, ssim=0.5, kind="file"))
    grey = row("grey", 2560, 12.1, 0.0, ssim=0.2)
    assert "grey is not trained yet" in findings(vq, grey)
    assert "is not trained yet" not in findings(row("resize@1", 24, 12.0, 0.0, ssim=0.2, kind="resize"))


def test_the_picture_of_the_mean_colour(tmp_path):
    """Against scikit-image, on one picture."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    values = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    flat = np.broadcast_to(np.rint(values.mean((0, 1))).astype(np.uint8), values.shape)
    known = run(tmp_path, [raw()]).mean_colour
    assert known.psnr == pytest.approx(peak_signal_noise_ratio(values, flat))
    window = {"gaussian_weights": True, "use_sample_covariance": False, "sigma": 1.5}
    similar = structural_similarity(values, flat, channel_axis=2, data_range=255, full=True, **window)[1]
    assert known.ssim == pytest.approx(similar[5:-5, 5:-5].mean(), abs=1e-4)


def test_runs_have_their_folders_names():
    words = ["raw", "runs/a", "/x/b/", "jpeg@runs/a", "webp@2048", "hf:me/vq/sub", "python:my.thing:Make"]
    assert choices.names(words) == [
        "raw",
        "a",
        "b",
        "jpeg@a",
        "webp@2048",
        "hf:me/vq/sub",
        "python:my.thing:Make",
    ]
    assert choices.names(["one/a", "two/a", "jpeg@one/a"]) == ["one/a", "two/a", "jpeg@a"]


def test_files_of_as_many_bits_and_rank_correlation():
    rows = [
        row("a", 256, 20.0, 0.3, text=0.1),
        row("b", 512, 22.0, 0.4, text=0.3),
        row("c", 1024, 21.0, 0.5, text=0.2),
        row("jpeg@c", 1000, 23.5, 0.5, kind="file", text=0.25),
    ]
    sentences = findings(*rows, budgets=[("jpeg@c", "c")])
    assert (
        "At no more bits than c, jpeg@c is 2.5 dB nearer, and 25% of its text survives against 20%."
        in sentences
    )
    shrunk = row("jpeg@c", 1000, 23.5, 0.5, kind="file", scale=0.375)
    assert "At no more bits than c, jpeg@c (shrunk to 3/8 of its sides first) is 2.5 dB nearer." in findings(
        rows[2], shrunk, budgets=[("jpeg@c", "c")]
    )
    assert "Over 3 tokenizers, bits and text survival have a rank correlation of 0.50" in sentences
    assert "rank correlation" not in findings(*rows[1:])  # an image file is no tokenizer
    over = findings(
        rows[2], row("jpeg@c", 2500, 23.5, 0.5, kind="file", over_budget=4), budgets=[("jpeg@c", "c")]
    )
    assert (
        "Over budget, as no file is so small, and left out of the plots: "
        "jpeg@c (4 pictures, 2,500 bits a picture on average)."
        in over
        and "At no more bits" not in over
    )


# ------------------------------------------------------------------------------------------------------- text


@pytest.fixture
def greys(tmp_path):
    for grey in (7, 120, 200):
        Image.new("RGB", (8, 8), (grey,) * 3).save(tmp_path / f"{grey}.png")
    (tmp_path / "120.gt.txt").write_text("word120 one\n")
    return tmp_path


@pytest.mark.parametrize("kind", ["named pipe", "device"])
def test_a_text_without_an_end_is_refused_at_once(greys, kind):
    (greys / "120.gt.txt").unlink()
    if kind == "device":
        (greys / "120.gt.txt").symlink_to("/dev/zero")
    else:
        os.mkfifo(greys / "120.gt.txt")
    with pytest.raises(DataError, match=f"120.gt.txt cannot be read: it is a {kind}; allowed: a file"):
        run(greys, [raw(), toy()], reader=reading)


def test_text_before_and_after(greys):
    result = run(greys, [raw(), toy()], reader=reading)
    first = result.rows[0]
    assert first.text_survival == first.word_survival == 1
    each = {one.name: one for one in result.each}
    assert each["120"].codecs["toy"].text == "word120 two" and each["200"].codecs["toy"].text == "word200 two"
    assert each["7"].text == "." and each["7"].codecs["toy"].text_survival is None
    assert result.text == TextBaseline(2, 3, 3, 1, pytest.approx(1 - 3 / 11), 0.5)
    assert first.right_words == 0.5
    assert "Clean baseline: text is read on 2 of 3 originals" in "\n".join(result.findings)
    known = {one["name"]: one for one in results.as_json(result)["each"]}
    assert "text_survival" not in known["7"]["codecs"]["toy"] and "written" not in known["7"]
    assert known["120"]["clean"] == {"survival": pytest.approx(1 - 3 / 11), "words": 0.5}
    assert known["120"]["codecs"]["toy"]["right_words"] == 0.5


def test_originals_without_text_are_reported(greys):
    result = run(greys, [raw()], reader=lambda pictures: ["|"] * len(pictures))
    assert result.rows[0].text_survival is None and result.text.readable == 0
    assert "No text could be read on any original, so there is none that could survive." in result.findings


# ------------------------------------------------------------------------------------------------------ files


def test_files_are_the_reconstructions(folder, tmp_path):
    result = run(folder, [raw(), toy("a b"), toy("a-b")], out=tmp_path / "out")
    places = files.places(["raw", "a b", "a-b"])
    assert len(set(places.values())) == 3
    for one in result.each:
        before = read_image(one.file)
        for place in ("original", places["raw"]):
            assert np.array_equal(read_image(tmp_path / "out" / place / f"{one.name}.png"), before)
        back = read_image(tmp_path / "out" / places["a b"] / f"{one.name}.png")
        assert ((back.astype(float) - before) ** 2).mean() == pytest.approx(one.codecs["a b"].mse)
        errors = Image.open(tmp_path / "out" / places["a b"] / "errors" / f"{one.name}.png")
        level = np.minimum(np.abs(back.astype(int) - before).max(-1), 64)
        assert np.array_equal(np.asarray(errors), np.rint(255 * np.sqrt(level / 64)))


def test_names_that_clash_are_numbered(tmp_path):
    for name in ("a/x.png", "b/x.png", "b/X.PNG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    assert [one.name for one in pictures.find([tmp_path], tmp_path)] == ["00000-x", "00001-X", "00002-x"]


def test_a_report_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "x.html", "not a folder"),
        (tmp_path / "file" / "x.html", "not a folder"),
        (tmp_path / "out", "does not end in .html"),
    ):
        with pytest.raises(ConfigError, match=message):
            files.check_report(path)
    files.check_report(tmp_path / "new.html")
