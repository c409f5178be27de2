"""Upper bounds of the bits of pictures: known contents, grey pictures, mosaics, mixed folders, a missing
extra."""

import json
import math
import multiprocessing
import time

import numpy as np
import pytest
from PIL import Image

from rawmm_cli.data import pictures
from rawmm_cli.data.images import fit
from rawmm_cli.information import bounds, lossless, picture_bits
from rawmm_cli.information.bounds import Coded
from rawmm_cli.system.errors import DataError

pytest.importorskip("imagecodecs")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path, pixels, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **more)
    return path


@pytest.mark.parametrize("slow", [False, True])
def test_known_contents(slow):
    """Noise is incompressible; one colour takes almost nothing; entropy of the levels is scipy's."""
    from scipy.stats import entropy

    pixels = noise(64, 48, 3)
    result = lossless.lengths(pixels, slow)
    assert set(result) == set(lossless.METHODS)
    assert all(8 * pixels.size <= result[name] < 9.5 * pixels.size for name in lossless.BOUNDS)
    assert result["order-0"] == pytest.approx(
        pixels.size * entropy(np.bincount(pixels.ravel(), minlength=256), base=2)
    )
    flat = lossless.lengths(np.full((64, 48, 3), 7, np.uint8), slow)
    assert flat["order-0"] == 0 and all(flat[name] < 1600 for name in lossless.BOUNDS)


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3), (1, 1), (1, 40, 3), (33, 2)])
def test_every_codec_decodes_every_shape(shape):
    """`lengths` gives None where the decoded picture differs."""
    assert all(
        bits is not None and bits > 0
        for name, bits in lossless.lengths(noise(*shape), False).items()
        if name != "order-0"
    )


def test_a_file_that_decodes_to_something_else_is_no_bound(monkeypatch):
    monkeypatch.setattr(lossless, "_png", lambda pixels, **options: (b"x", pixels ^ 1))
    monkeypatch.setattr(lossless, "_jpegls", lambda pixels, **options: (_ for _ in ()).throw(ImportError))
    result = lossless.lengths(noise(8, 8, 3), False)
    assert result["PNG"] is None and result["JPEG-LS"] is None and result["WebP"] > 0


def test_grey_pictures_are_one_channel(tmp_path):
    """A grey file and a colour file with equal channels have as many bits, in all and a byte."""
    grey = np.linspace(0, 255, 60 * 40).reshape(60, 40).astype(np.uint8)
    one, three = save(tmp_path / "1.png", grey), save(tmp_path / "3.png", np.stack([grey] * 3, -1))
    both = [bounds.measure(path, None, (False, False)).own for path in (one, three)]
    assert both[0].channels == both[1].channels == 1 and both[0].bits == both[1].bits
    result = bounds.summed(both)
    assert (
        result.grey == 2
        and result.best.mean == min(both[0].bits[name] for name in lossless.BOUNDS) / grey.size
    )


def test_a_jpeg_is_measured_by_its_pixels(tmp_path):
    """JPEG XL could store the coefficients of the file in fewer bytes than the file has."""
    pixels = np.asarray(Image.fromarray(noise(16, 16, 3)).resize((128, 128), Image.Resampling.BICUBIC))
    path = save(tmp_path / "a.jpg", pixels, quality=75)
    result = bounds.measure(path, None, (False, False)).own.bits
    assert (
        result == lossless.lengths(np.asarray(Image.open(path)), False)
        and result["JPEG XL"] > 8 * path.stat().st_size
    )


def test_the_tokenizers_size(tmp_path):
    """Pictures are cropped and shrunk as `prepare --crop center` does; smaller ones are left out."""
    pixels = noise(50, 70, 3)
    result = bounds.measure(save(tmp_path / "a.png", pixels), 32, (False, False))
    assert result.sized.bits == lossless.lengths(fit(pixels, 32, "center"), False) and result.own.width == 70
    assert bounds.measure(tmp_path / "a.png", 51, (False, False)).sized is None


def test_mosaics_share_one_header():
    """Sixteen copies of a small picture take little more than one."""
    tile = noise(16, 16, 3)
    alone, together = lossless.lengths(tile, False), lossless.mosaic([tile] * 16)
    assert together["WebP"] < 3 * alone["WebP"]
    coded = Coded(16, 16, 3, alone, tile=tile)
    result = bounds.summed([coded] * 5).mosaic
    assert result.pictures == 5 and result.files == 1
    assert result.bits_per_byte["PNG"] < alone["PNG"] / tile.size
    assert bounds.summed([coded] * 3).mosaic is None


def test_mosaics_of_few_pixels_take_the_slowest_settings(monkeypatch):
    seen = []
    monkeypatch.setattr(bounds, "mosaic", lambda tiles, slow: seen.append(slow) or lossless.mosaic(tiles))
    for side, count in ((16, 4), (128, 17)):
        tile = np.zeros((side, side), np.uint8)
        bounds.summed([Coded(side, side, 1, lossless.lengths(tile, False), tile=tile)] * count)
    assert seen == [True, False]


def test_sums_against_numpy():
    coded = [Coded(4, 5, 3, dict.fromkeys(lossless.METHODS, 60.0 * n)) for n in range(1, 6)]
    coded[0].bits["WebP"] = None
    summary = bounds.summed(coded)
    assert summary.best == bounds.Spread(3, pytest.approx(1.2), 3, pytest.approx(4.8))
    assert {row.method: row.pictures for row in summary.rows}["WebP"] == 4
    assert summary.each_best_bits == [60, 120, 180, 240, 300]


def test_raw_bytes_are_a_bound():
    """Every file is larger for noise and for one pixel."""
    for shape in ((1, 1), (40, 50), (8, 8, 3)):
        values = noise(*shape)
        channels = 3 if len(shape) == 3 else 1
        summary = bounds.summed([Coded(*shape[:2], channels, lossless.lengths(values, False))])
        assert summary.each_best_bits == [8 * values.size] and summary.best.mean == 8
        assert (summary.bound.bits, summary.bound.bits_per_byte) == (8 * values.size, 8)


def test_mosaics_reach_the_bound():
    """Eight copies of a picture share a file; one of another shape has its own."""
    tile, other = (
        np.asarray(Image.fromarray(noise(4, 4, 3)).resize((16, 16), Image.Resampling.BICUBIC)),
        noise(20, 20, 3),
    )
    entries = [bounds.code(one, False) for one in [tile] * 4 + [other] + [tile] * 4]
    result, together = bounds.summed(entries), lossless.mosaic([tile] * 8)
    least = min(bits for name, bits in together.items() if name in lossless.BOUNDS)
    assert result.bound.bits == pytest.approx((least + 8 * other.size) / 9) and "share" in result.bound.by
    assert result.bound.bits_per_byte == pytest.approx(
        (least + 8 * other.size) / (8 * tile.size + other.size)
    )
    assert result.bound.bits < result.best_bits.mean


def test_sentences_of_the_verdict():
    assert "1 of 1 picture fit" in bounds.verdict([1.0], 10)[0]
    assert "5 of 5 pictures" in bounds.verdict([1.0] * 5, 10)[0] and len(bounds.verdict([1.0] * 5, 10)) == 1
    sentences = bounds.verdict([5.0, 20.0, 30.0], 10)
    assert (
        "1 of 3" in sentences[0]
        and "For 2 no code so small was found" in sentences[1]
        and "does not prove" in sentences[1]
    )


@pytest.fixture
def folder(tmp_path):
    """Pictures of several sizes and modes, and two files that are not pictures."""
    for n, shape in enumerate([(70, 64, 3), (64, 64), (20, 20, 3), (20, 20, 3), (20, 20, 3), (20, 20, 3)]):
        save(tmp_path / "in" / f"{n}.png", noise(*shape, seed=n))
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "in" / "notes.txt").write_text("not read")
    return tmp_path / "in"


@pytest.mark.process
def test_a_mixed_folder_by_two_processes(folder):
    """The results equal those of this process, in order."""
    locations = pictures.find([folder], folder)
    result = picture_bits.measure(locations, 64)
    assert [one.name for one in result.each] == ["0", "1", "2", "3", "4", "5"]
    assert [one.file for one in result.skipped] == [str(folder / "bad.png")]
    assert result.own.pictures == 6 and result.sized.pictures == 2 and result.own.mosaic.pictures == 4
    for one in result.each:
        alone = bounds.measure(folder / f"{one.name}.png", 64, (True, True))
        assert one.own.bits == alone.own.bits


@pytest.mark.parametrize("stop", [KeyboardInterrupt, GeneratorExit])
@pytest.mark.process
def test_ctrl_c_does_not_wait_for_workers(stop):
    """Two tasks of a minute are running when the caller stops."""
    results = bounds.over(time.sleep, [(0,), (60,), (60,), (60,), (60,)])
    next(results)
    began, before = time.monotonic(), len(multiprocessing.active_children())
    with pytest.raises(stop):
        results.throw(stop)
    assert time.monotonic() - began < 20 and before == 2 and not multiprocessing.active_children()


def test_nothing_to_read(folder):
    with pytest.raises(DataError, match=r"no picture is left: image .*bad.png cannot be read"):
        picture_bits.measure(pictures.find([folder / "bad.png"], folder), 64)


# ------------------------------------------------------------------------------------------------ the command


@pytest.mark.process
def test_the_command(rawmm, folder):
    code, out, err = rawmm("entropy-budget", "--images", folder, "--L", "256", "--V", "16384", "--json")
    assert code == 0 and "left out" in err and "bad.png" in err
    result = json.loads(out)
    assert result["anchor"]["kind"] == "codec" and result["images"]["sized"]["pictures"] == 2
    assert result["bits_needed"] == result["images"]["sized"]["bound"]["bits"]
    assert (
        result["capacity_bits"] == 3584
        and result["lossless_possible"] is None
        and "does not prove" in result["says"][-1]
    )
    assert "of the bound" in result["says"][0] and "of H" not in result["says"][0]
    code, out, _ = rawmm("entropy-budget", "--images", folder, "--size", "2000", "--L", "16")
    assert code == 0 and "no picture is at least 2000 x 2000" in out and ">=" not in out
    assert "is enough for the mean of these files; whether less is enough is not known" in out
    assert "as mosaics, 4 small pictures" in out


@pytest.mark.process
def test_possible_only_where_every_file_fits(rawmm, tmp_path):
    """Two pictures of noise and two of one colour: enough codes for the mean are not enough for the noise."""
    for n in range(4):
        save(
            tmp_path / "in" / f"{n}.png",
            noise(16, 16, 3, seed=n) if n < 2 else np.full((16, 16, 3), n, np.uint8),
        )
    verdicts = []
    for length in (100, 4000, 6144):
        code, out, _ = rawmm(
            "entropy-budget", "--images", tmp_path / "in", "--size", 16, "--L", length, "--V", 2, "--json"
        )
        result = json.loads(out)
        verdicts.append(result["lossless_possible"])
        assert code == 0 and result["images"]["sized"]["best_bits"]["mean"] < 3500
    assert verdicts == [None, None, True]


def test_lines_of_the_plot(rawmm, folder, tmp_path, monkeypatch):
    """For grey pictures the lines of other sizes scale H by area. Where pictures are smaller than --size, the
    only line is theirs."""
    from rawmm_cli.pages import budget as budget_plot

    lines, words = {}, []
    label, text = budget_plot.Plot.label, budget_plot.Plot.text
    monkeypatch.setattr(
        budget_plot.Plot,
        "label",
        lambda self, x, y, label_text, tone: (
            lines.update({label_text: x * y}),
            label(self, x, y, label_text, tone),
        ),
    )
    monkeypatch.setattr(
        budget_plot.Plot,
        "text",
        lambda self, at, label_text, *more: words.append(label_text) or text(self, at, label_text, *more),
    )
    command = "entropy-budget", "--images", folder / "1.png", "--plot", tmp_path / "a.png", "--json"
    code, out, _ = rawmm(*command, "--L", 64, "--V", 16)
    bits = json.loads(out)["bits_needed"]
    assert code == 0 and bits == 8 * 64 * 64
    for name, side in (("64 px (H)", 64), ("256 px", 256)):
        assert lines[name] == pytest.approx(1.05 * 1.1 * bits * (side / 64) ** 2)
    assert "yours" in lines and any("is enough for an upper bound of H" in label_text for label_text in words)
    lines.clear()
    result = json.loads(rawmm(*command, "--size", 1000, "--L", 1, "--V", "2^20")[1])
    assert (
        result["size"] is None and "H, yours" in lines and "1000 px (H)" not in lines and "yours" not in lines
    )
    assert "yours lies outside: L = 1, log2 V = 20" in words


@pytest.mark.parametrize("error", [ImportError, AttributeError])
def test_without_the_extra(rawmm, folder, monkeypatch, error):
    """Where imagecodecs is missing or broken, PNG and WebP remain, and one line says how to add the rest."""
    for name in ("_jpegxl", "_jpegls"):
        monkeypatch.setattr(lossless, name, lambda pixels, **options: (_ for _ in ()).throw(error))
    code, out, err = rawmm("entropy-budget", "--images", folder / "0.png")
    assert code == 0 and "1 picture at its own size" in out and "pictures" not in out.split("bits a byte")[0]
    assert (
        err.count("\n") == 1
        and "JPEG XL and JPEG-LS left out" in err
        and "pip install 'rawmm[codecs]'" in err
    )
    assert "WebP" in out and "JPEG" not in out
    result = json.loads(rawmm("entropy-budget", "--images", folder / "0.png", "--json")[1])
    assert result["images"]["missing"] == ["JPEG XL", "JPEG-LS"]


BAD = {
    "twice": (["--images", "in", "--anchor", "post"], 2, "--images and --anchor both determine H"),
    "square": (
        ["--images", "in", "--size", "64x32"],
        2,
        "--size is 64x32; allowed: one number",
    ),
    "none": (["--images", "none"], 3, "image none cannot be read: there is no such file"),
    "empty": (["--images", "empty"], 3, "empty holds no pictures"),
    "broken": (["--images", "in/bad.png"], 3, "image in/bad.png cannot be read"),
    "limit": (["--images", "in", "--limit", "0"], 2, "--limit"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, rawmm, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "empty").mkdir()
    words, expected, message = BAD[name]
    code, out, err = rawmm("entropy-budget", *words)
    lines = err.splitlines()
    assert (
        (code, out, len(lines)) == (expected, "", 1)
        and lines[0].startswith("error: ")
        and message in lines[0]
    ), err


def photographs() -> list[np.ndarray]:
    """Crops of 64 px of the photographs inside scikit-learn."""
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(0)
    places = [(image, *generator.integers(0, 300, 2)) for image in load_sample_images().images * 4]
    return [np.ascontiguousarray(image[top : top + 64, left : left + 64]) for image, top, left in places]


def test_the_least_of_several_settings():
    """More effort often gives larger files of small pictures; the setting that is named gives the length."""
    totals = {"method 6": 0, "slow": 0, "fast": 0}
    for pixels in photographs():
        slow, fast = lossless.smallest(pixels, True), lossless.smallest(pixels, False)
        for name, coder in (("WebP", lossless._webp), ("JPEG XL", lossless._jpegxl), ("PNG", lossless._png)):
            every = {setting.name: setting.options for setting in lossless.SETTINGS[name]}
            files = {setting: 8 * len(coder(pixels, **options)[0]) for setting, options in every.items()}
            assert slow[name][0] == min(files.values()) == files[slow[name][1]]
            assert fast[name][0] >= slow[name][0]
        highest = {"lossless": True, "exact": True, "method": 6, "quality": 100}
        totals["method 6"] += 8 * len(lossless._pillow(pixels, "WEBP", **highest)[0])
        totals["slow"], totals["fast"] = totals["slow"] + slow["WebP"][0], totals["fast"] + fast["WebP"][0]
    assert totals["slow"] < totals["fast"] < totals["method 6"]


@pytest.mark.process
def test_the_table_says_which_settings(rawmm, tmp_path):
    for n, pixels in enumerate(photographs()[:4]):
        save(tmp_path / f"{n}.png", pixels)
    code, out, _ = rawmm("entropy-budget", "--images", tmp_path, "--json")
    summary = json.loads(out)["images"]["own"]
    assert code == 0
    for row in summary["rows"]:
        assert sum(row["settings"].values()) == (0 if row["method"] == "order-0" else 4)
    each = [one["own"]["settings"] for one in json.loads(out)["images"]["each"]]
    assert sorted(one["WebP"] for one in each) == sorted(
        name
        for row in summary["rows"]
        if row["method"] == "WebP"
        for name, count in row["settings"].items()
        for _ in range(count)
    )
    code, out, _ = rawmm("entropy-budget", "--images", tmp_path)
    assert "smallest by" in out and "method" in out and "effort" in out


def test_large_pictures_take_few_settings(monkeypatch):
    """Time stays bounded: what is tried only on small pictures, or where time does not matter."""
    tried = []
    monkeypatch.setattr(lossless, "_webp", lambda pixels, **options: (tried.append(options), 1 / 0))
    for pixels, slow, count in (
        (noise(128, 128), False, 2),
        (noise(129, 128), False, 1),
        (noise(8, 8), True, 7),
    ):
        tried.clear()
        lossless.smallest(pixels, slow)
        assert len(tried) == count


def test_the_astronaut(tmp_path):
    """Published figures at 512 px, in bits a byte. WebP reaches 3.32 in seconds; the faster setting gives
    3.47."""
    data = pytest.importorskip("skimage.data")
    pixels = data.astronaut()
    result = lossless.lengths(pixels, False)
    assert math.isclose(result["order-0"] / pixels.size, 7.47, abs_tol=0.01)
    for name, known in (("PNG", 4.30), ("WebP", 3.47), ("JPEG XL", 3.31), ("JPEG-LS", 3.82)):
        assert abs(result[name] / pixels.size - known) < 0.05
