"""`rawmm train --dry-run --card`: the table of cards, and a run on one that is not here."""

import re

import pytest
from commanding import one_object

from rawmm_cli.profiling import cards
from rawmm_cli.system.errors import ConfigError

pytestmark = pytest.mark.usefixtures("one_thread")
DRY = ("train", "--preset", "patch128", "--dry-run")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder without data, on a machine without GPUs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)


@pytest.mark.parametrize("card", cards.table(), ids=lambda card: card.name)
def test_every_card_is_whole(card):
    assert card.source and card.read in ("V", "S") and 2017 <= card.year <= 2026
    assert 8 * 2**30 < card.memory < 300 * 2**30
    assert 0.2e12 < card.bandwidth < 10e12 and 30e9 < card.link < 2e12 and 5e12 < card.fp32 < 150e12
    # Tensor cores without sparsity do 2 to 30 times the rate of the others; cards before Ampere have no bf16.
    assert card.bf16 == 0 if card.year < 2020 else 1.9 < card.bf16 / card.fp32 < 31
    assert cards.named(card.name) is card and all(cards.named(alias) is card for alias in card.aliases)


def test_names_lead_to_one_card():
    names = [word for card in cards.table() for word in (card.name.lower(), *card.aliases)]
    assert len({(word, cards.named(word).name) for word in names}) == len(set(names))
    assert cards.named(" H100 ").name == "H100 SXM" and cards.ALL not in names
    with pytest.raises(
        ConfigError, match=r"unknown card 'h10' \(did you mean h100\?\); allowed: .*4090.*, all"
    ):
        cards.named("h10")


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H100 NVL", "H100 NVL"),
        ("NVIDIA H200", "H200 SXM"),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA B200", "B200"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM 80 GB"),
        ("NVIDIA A100-SXM4-40GB", "A100 SXM 40 GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80 GB"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A10G", None),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("Tesla V100-SXM2-16GB", "V100 SXM2 16 GB"),
        ("Tesla T4", "T4"),
    ],
)
def test_names_that_cuda_gives(device, name):
    card = cards.of_device(device)
    assert (card and card.name) == name


def test_a_run_on_cards_that_are_not_here(rawmm):
    """Eight H100s need hours for what two cores would need months for."""
    code, out, err = rawmm(*DRY, "--gpus", 8, "--card", "h100", "--json")
    assert (code, err) == (0, "")
    sizes = one_object(out)
    assert sizes["card"]["name"] == "H100 SXM" and sizes["card"]["measured"] is False
    assert sizes["card"]["flops_per_second"] == 989.4e12 and "datasheet, 2022" in sizes["card"]["source"]
    assert 600 < sizes["run_seconds"] < 6 * 3600 and 0.02 < sizes["mfu"] < 0.62
    assert sizes["fits"] and sizes["remedy"] is None
    assert sizes["memory"]["total"] < sizes["memory_needed"] < sizes["card"]["memory"]


def test_a_dry_run_for_gpus_without_any_names_the_option(rawmm, monkeypatch):
    monkeypatch.setattr("rawmm_cli.profiling.cpu.seconds", lambda step: 1.0)
    assert "add --card, as in --card h100" in rawmm(*DRY, "--gpus", 8)[2]
    assert rawmm(*DRY, "--gpus", 8, "--device", "cpu")[2] == rawmm(*DRY)[2] == ""


def test_lines_on_the_terminal(rawmm):
    code, out, _ = rawmm(*DRY, "--card", "t4")
    lines = dict(re.split(r"\s{2,}", line[2:], maxsplit=1) for line in out.splitlines() if line[:2] == "# ")
    assert code == 0 and "codec:" in out
    assert lines["card"] == (
        "1 x T4: 8 TFLOP/s in fp32, 0.32 TB/s, 15 GiB (NVIDIA T4 Tensor Core GPU datasheet, 2018)"
    )
    assert lines["estimate"].startswith("not measured: assumes ") and "MFU" in lines["estimate"]
    assert re.fullmatch(r"no: .* of 15 GiB, .*; set train\.accumulate=\d+", lines["fits"])
    assert "communication" not in lines["parts of a step"]  # one card


def test_all_cards_the_fastest_first(rawmm):
    code, out, err = rawmm(*DRY, "--card", "all", "--json")
    shown = one_object(out)["cards"]
    assert (code, err) == (0, "") and {one["card"]["name"] for one in shown} == {
        c.name for c in cards.table()
    }
    assert [one["run_seconds"] for one in shown] == sorted(one["run_seconds"] for one in shown)
    code, out, err = rawmm(*DRY, "--card", "all", "--gpus", 8)
    rows = out.splitlines()
    assert "* waits for the host" in err and "estimated" in err and re.search(r"\d ms\*", rows[1])
    code, out, err = rawmm(*DRY, "--card", "all", "train.batch=512")
    rows, shown = (
        out.splitlines(),
        one_object(rawmm(*DRY, "--card", "all", "train.batch=512", "--json")[1])["cards"],
    )
    assert "*" not in err
    assert code == 0 and rows[0].split()[:3] == ["card", "run", "step"]
    assert [row.split("  ")[0] for row in rows[1:]] == [one["card"]["name"] for one in shown]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*DRY, "--card", "h10"), "unknown card 'h10' (did you mean h100?); allowed: h100, "),
        (("train", "--preset", "patch128", "--card", "h100"), "--card h100: add --dry-run"),
        (("train", "--preset", "vq-f8", "--dry-run", "--card", "h100"), "preset vq-f8 trains a codec"),
        ((*DRY, "--card", "h100", "--gpus", 3), "train.batch = 64 cannot be dealt out to 3 ranks"),
    ],
)
def test_what_is_refused(words, message, rawmm, tmp_path):
    code, out, err = rawmm(*words)
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err
    assert list(tmp_path.iterdir()) == []
