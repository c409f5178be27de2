"""The entropy budget: the post's figures, exact integers against Python's own, large numbers, the
catalogue, bad input."""

import json
import math
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from rawmm_cli.information import budget, catalogue, numerals
from rawmm_cli.information.budget import Need

H = Fraction(36864)


def solve(length, vocabulary, bits):
    return budget.solve(length, vocabulary, Need(bits))


def object_of(result):
    code, out, err = result
    assert code == 0, err
    assert out.count("\n") == 1
    return json.loads(out)


# ---------------------------------------------------------------------------------------------------- formula


def test_the_four_figures_of_the_post():
    """64 x 64 x 3 x 3 bits; L = 1024 needs 2^36, about 7e10; L = 256 needs 2^144, about 2e43."""
    assert budget.SIDE**2 * 3 * budget.RATE == H
    long, short = solve(1024, None, H), solve(256, None, H)
    assert (long.log2_vocabulary, long.vocabulary) == (36, 2**36)
    assert (short.log2_vocabulary, short.vocabulary) == (144, 2**144)
    assert (numerals.power(2**36, 36), numerals.power(2**144, 144)) == ("6.87e10", "2.23e43")


@pytest.mark.parametrize("bits", [Fraction(1), Fraction(37), Fraction(1234), Fraction(101, 3)])
@pytest.mark.parametrize("number", [2, 3, 7, 10, 1000, 2**18, 196560, 2**61 - 1])
def test_any_two_give_the_third_without_rounding(bits, number):
    """Against powers of integers: V^L >= 2^H, and one less is too small."""

    def enough(vocabulary, length):
        return vocabulary ** (length * bits.denominator) >= 2**bits.numerator

    length = solve(None, number, bits).length
    assert enough(number, length) and (length == 1 or not enough(number, length - 1))
    assert budget.carries(length, number, bits) and (
        length == 1 or not budget.carries(length - 1, number, bits)
    )
    for length in (1, 2, 3, 11, 36):
        vocabulary = solve(length, None, bits).vocabulary
        assert enough(vocabulary, length) and not enough(vocabulary - 1, length)


def test_at_equality():
    """Equality is enough; one token less is not, nor one code less."""
    assert solve(1024, 2**36, H).lossless_possible is True
    assert solve(1023, 2**36, H).lossless_possible is False
    assert solve(1, 2**4000 - 1, Fraction(4000)).lossless_possible is False
    assert solve(1, 2**4000 + 1, Fraction(4000)).lossless_possible is True
    verdict = solve(256, 16384, H)
    assert (verdict.capacity_bits, verdict.share) == (3584, 3584 / 36864)


def test_large_numbers_are_never_infinite():
    for known in ((10**100, None), (None, 2**4096), (10**100, 2**4096), (1, None), (None, 2)):
        for bits in (Fraction(1, 10**9), H, Fraction(10**100)):
            result = solve(*known, bits)
            text = json.dumps(budget.as_json(result))
            assert "Infinity" not in text and "NaN" not in text and result.says
    assert solve(10**30, None, H).vocabulary == 2 and solve(1, None, H).vocabulary is None


@pytest.mark.parametrize(
    "text,value",
    [
        ("256", 256),
        ("16x16", 256),
        ("2^14", 2**14),
        ("2**18", 2**18),
        ("16,384", 16384),
        ("1e30", 10**30),
        ("10^30", 10**30),
        ("2.5e1", 25),
        ("1,234,567", 1234567),
    ],
)
def test_numbers_as_users_write_them(text, value):
    assert numerals.whole(text, "--L", 1, 10**100, "10^100") == value


# -------------------------------------------------------------------------------------------------- catalogue


def test_rows_are_complete_and_sourced():
    for row in catalogue.rows("anchors"):
        assert (
            0 < row["bits_per_byte"] <= 8
            and row["kind"] in catalogue.KINDS
            and row["read"] in ("V", "S")
            and row["source"]
        )
        assert row.get("low", 0) < row["bits_per_byte"]
    for row in catalogue.tokenizers():
        assert row["read"] in ("V", "S") and row["source"] and row["year"] >= 2017 and row["length"] >= 32
        assert row["bits"] == pytest.approx(row["length"] * math.log2(row["vocabulary"]))
        assert ("psnr" in row or "rfid" in row) <= ("test" in row)
    for name in ("anchors", "catalogue", "tokbench"):
        names = [row["name"] for row in catalogue.rows(name)]
        assert len(set(names)) == len(names)


def test_every_source_can_be_followed():
    """A source is the number of a paper, a repository, a page or a package; the name of a paper is not
    enough."""
    known = re.compile(r"arXiv \d{4}\.\d{5}|https://\S+|\b[\w-]+/[\w.-]+|on PyPI|transformers \d")
    for row in [*catalogue.rows("anchors"), *catalogue.rows("catalogue")]:
        assert known.search(row["source"]) or (
            row["source"] == "its model card" and "/" in row["checkpoint"]
        ), row["name"]


def test_figures_from_copies_are_marked():
    """Figures read in a copy of a paper's tables have S."""
    assert {row["read"] for row in catalogue.rows("catalogue") if row["name"].startswith("GSQ-GAN")} == {"S"}


def test_a_single_row_equals_that_of_the_file():
    assert all(catalogue.anchor(row["name"]) == row for row in catalogue.rows("anchors"))


def test_an_anchor_whose_release_follows_from_a_link_alone_says_so():
    """The README of TarFlow links the paper of the old ImageNet-64, and nobody has seen its files."""
    row = catalogue.anchor("imagenet64-tarflow")
    assert row["release"] == "not verified" and "arXiv 1601.06759" in row["note"]


def test_published_bits():
    """Bits equal those in the tokenizers' own papers."""
    known = {row["name"]: row for row in catalogue.tokenizers()}
    assert (
        known["TiTok L-32"]["bits"] == 384
        and known["LDM VQ f4"]["bits"] == 53248
        and known["BSQ-ViT 36"]["bits"] == 36864
    )
    assert (
        known["BSQ-ViT 18"]["bits_per_pixel"] == 0.28125 and known["GSQ-GAN F8 16 groups"]["bits"] == 212992
    )
    assert catalogue.anchor("imagenet64-sparse")["bits_per_byte"] == 3.44


def test_rank_correlation_against_scipy():
    from scipy.stats import spearmanr

    text = catalogue.text_survival()
    pairs = [(row["bits"], row["words"]) for row in text.rows]
    assert text.all.spearman == pytest.approx(spearmanr(*zip(*pairs)).statistic)
    assert text.all.tokenizers == len(pairs) == 13 and text.resize == 93.02


# ------------------------------------------------------------------------------------------------ the command


def test_one_object(rawmm):
    result = object_of(rawmm("entropy-budget", "--L", "256", "--V", "16384", "--json"))
    assert {
        "length": 256,
        "vocabulary": 16384,
        "log2_vocabulary": 14,
        "bits_needed": 36864,
        "capacity_bits": 3584,
        "lossless_possible": False,
    }.items() <= result.items()
    assert result["share"] == pytest.approx(0.0972222) and result["anchor"]["name"] == "post"
    result = object_of(
        rawmm("info-budget", "--V", "16384", "--anchor", "imagenet64-vdm", "--size", "256", "--json")
    )
    assert result["length"] == math.ceil(256 * 256 * 3 * 3.4 / 14) and result["capacity_bits"] is None
    assert object_of(rawmm("entropy-budget", "--L", "10^30", "--json"))["vocabulary"] == 2
    assert object_of(rawmm("entropy-budget", "--H", "1e3", "--L", "10", "--json"))["log2_vocabulary"] == 100
    assert (
        object_of(rawmm("entropy-budget", "--size", "640x480", "--bits-per-byte", "2.5", "--json"))[
            "bits_needed"
        ]
        == 2304000
    )


def test_rounding_of_shares_at_equality(rawmm):
    assert "just under 100% of H" in rawmm("entropy-budget", "--L", "3", "--V", "4", "--H", "6.000000001")[1]
    assert "100.000% of H" in rawmm("entropy-budget", "--L", "3", "--V", "4", "--H", "6")[1]
    assert (
        "3,584,000,000,000 times H" in rawmm("entropy-budget", "--L", "256", "--V", "16384", "--H", "1e-9")[1]
    )


def test_a_bound_does_not_prove_too_little(rawmm):
    """A model or a codec gives an upper bound of H: a capacity above it is enough, one below is undecided."""
    words = "entropy-budget", "--anchor", "imagenet64-vdm", "--V", "2"
    for length, possible in (("41780", True), ("41779", None)):  # 64 x 64 x 3 x 3.4 = 41,779.2
        result = object_of(rawmm(*words, "--L", length, "--json"))
        assert result["lossless_possible"] is possible and "of the bound" in result["says"][0]
    for options in (["--L", "256"], ["--V", "1024"], []):
        out = rawmm("entropy-budget", "--anchor", "kodak-png", *options)[1]
        assert "enough for the mean of this anchor" in out and ">=" not in out and "H <= 64 x 64" in out
    assert "V >= 2.23e43" in rawmm("entropy-budget", "--L", "256", "--anchor", "post")[1]


def test_printed_lines_and_tables(rawmm):
    assert "V >= 2.23e43" in rawmm("entropy-budget", "--L", "256")[1]
    code, out, _ = rawmm("entropy-budget", "anchors", "imagenet64")
    assert code == 0 and "3.44" in out and "CIFAR" not in out
    code, out, _ = rawmm("entropy-budget", "catalogue", "titok")
    assert code == 0 and "TiTok L-32" in out and "0.989" in out and "LlamaGen" not in out
    assert len(object_of(rawmm("entropy-budget", "anchors", "kodak", "--json"))["anchors"]) == 12
    assert object_of(rawmm("entropy-budget", "catalogue", "--json"))["tokbench"]["all"]["spearman"] > 0.9


def test_plots(rawmm, tmp_path):
    """Plots have many colours, and differ for other numbers."""
    files = [tmp_path / f"{n}.png" for n in range(3)]
    for file, words in zip(
        files, (["--L", "256"], ["--L", "1", "--V", "2^100", "--size", "100"], ["catalogue"])
    ):
        assert rawmm("entropy-budget", *words, "--plot", file)[0] == 0
        with Image.open(file) as picture:
            assert picture.size == (1100, 720) and len(picture.getcolors(1 << 20)) > 100
    assert len({file.read_bytes() for file in files}) == 3


@pytest.mark.process
def test_the_formula_imports_nothing_slow():
    """Neither torch, numpy, Pillow nor rich's tables."""
    code = (
        "import sys; sys.argv = ['rawmm', 'entropy-budget', '--L', '256']\nfrom rawmm_cli.cli import "
        "main\ntry: main()\n"
        "except SystemExit: pass\nassert not {'torch', 'numpy', 'PIL', 'rich.table'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    assert done.returncode == 0 and "36,864" in done.stdout, done.stderr


BAD = {
    "zero": (["--L", "0"], "--L is '0'; allowed: a whole number from 1"),
    "negative": (["--V", "-3"], "--V is '-3'; allowed: a whole number from 2"),
    "nan": (["--L", "nan"], "--L is 'nan'"),
    "infinite": (["--H", "inf"], "--H is 'inf'; allowed: a number above 0"),
    "one code": (["--V", "1"], "--V is '1'"),
    "half": (["--L", "2.5"], "--L is '2.5'"),
    "huge": (["--L", "10^99999"], "--L is '10^99999'"),
    "digits": (["--V", "9" * 3000], "--V is '999"),
    "power": (["--V", "2^99999"], "--V is '2^99999'; allowed: a whole number from 2 to 2^4096"),
    "rate nan": (["--bits-per-byte", "nan"], "--bits-per-byte is 'nan'"),
    "rate": (["--bits-per-byte", "8.01"], "up to 8, the bits of a byte"),
    "exponent": (["--bits-per-byte", "1e-99999999"], "--bits-per-byte is '1e-99999999'"),
    "division": (["--H", "1/0"], "--H is '1/0'"),
    "twice": (["--H", "5", "--size", "64"], "--H and --size both determine H"),
    "twice again": (
        ["--bits-per-byte", "3", "--anchor", "post"],
        "--bits-per-byte and --anchor both determine H",
    ),
    "empty anchor": (["--anchor", ""], "--anchor is empty"),
    "steps": (["--L", "256", "--steps", "4"], "--steps has no effect without --images PATH"),
    "limit": (["--L", "5", "--limit", "3"], "--limit has no effect without --images PATH"),
    "comma": (["--H", "36864,5"], "--H is '36864,5'"),
    "commas": (["--H", "3,6,8"], "--H is '3,6,8'"),
    "comma of L": (["--L", "16,38"], "--L is '16,38'"),
    "comma of a rate": (["--bits-per-byte", "3,44"], "--bits-per-byte is '3,44'"),
    "anchor": (["--anchor", "posst"], "unknown anchor 'posst' (did you mean post?)"),
    "size": (["--size", "64x64x3"], "--size is '64x64x3'"),
    "no size": (["--size", "0"], "--size is '0'"),
    "plot": (["--plot", "x.jpg"], "--plot is 'x.jpg'; allowed: a file ending in .png"),
    "plot folder": (["--plot", "none/x.png"], "in a folder that exists"),
    "word": (["anchors", "nothing-like-it"], "no row contains 'nothing-like-it'"),
    "command": (["anchor"], "No such command 'anchor'"),
    "options": (["--L", "5", "anchors"], "takes its options after its name"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, rawmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, message = BAD[name]
    code, out, err = rawmm("entropy-budget", *words)
    assert (code, out) == (2, "") and err.startswith("error: ") and message in err and err.count("\n") == 1, (
        err
    )
    assert not list(tmp_path.iterdir())
