"""The report of a run: complete, with hostile strings escaped, and written also where files are missing or
torn."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from report_runs import HOSTILE, Balanced, new_run, record, words

from rawmm_cli.pages import facts, report
from rawmm_cli.pages.results import wilson
from rawmm_cli.system.errors import CheckpointError


def test_a_complete_report(run):
    path = report.write(run)
    assert path == run / "report.html"
    page = Balanced(path.read_text(encoding="utf-8"))
    text = " ".join(" ".join(page.words).split())
    for expected in (
        "99.8%",
        "of 500 drawings recognised",
        "97.5%",
        "95% interval 95.3% to 98.7%",
        "1 min 15 s",
        "zero",
        "four",
        "✓ seven",
        "✗",
        "is two",
        "12 of 30 sheets",
        "2.13.0+cpu",
        "documents: 9600",
        "9,600 of 9,600 documents",
        "log scale",
        "held out 0.28",
        "8,960",
        "one",
    ):
        assert expected in text, expected
    assert "nothing_set" not in text
    assert [attributes["id"] for attributes in page.all("section")] == [
        "curves",
        "results",
        "drawn",
        "read",
        "samples",
        "captions",
        "settings",
        "checkpoints",
        "machine",
    ]


def test_captions_and_names_are_escaped(run, tmp_path):
    named = run.rename(tmp_path / "<script>alert(1)<")
    page = report.write(named).read_text(encoding="utf-8")
    parsed = Balanced(page)
    assert len(re.findall("<script", page)) == 1 and "<img src=x" not in page
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)<" in parsed.words and HOSTILE in [
        attributes["alt"] for attributes in parsed.all("img")
    ]
    assert {attributes["src"][:22] for attributes in parsed.all("img")} == {"data:image/png;base64,"}


def test_the_page_loads_nothing(run):
    page = report.render(run)
    assert "http://" not in page and "https://" not in page and "url(" not in page and "@import" not in page
    assert not {"link", "iframe", "object", "base"} & {name for name, _ in Balanced(page).tags}
    (script,) = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    named = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(
        a["content"] for a in Balanced(page).all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert " ".join(policy.split()) == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{named}'; base-uri 'none'; form-action 'none'"
    )


@pytest.mark.parametrize(
    "missing",
    [
        "records.jsonl",
        "evaluation.json",
        "samples",
        "samples/drawn.png",
        "samples/drawn.json",
        "samples/read.json",
        "samples/read",
        "samples/held_out.png",
        "samples/step_00000030.json",
        "environment.json",
        "bad_batch.json",
        "checkpoints",
        "checkpoints/step_00000070/MANIFEST.json",
        "checkpoints/step_00000070/state.json",
    ],
)
@pytest.mark.parametrize("how", ["deleted", "torn"])
def test_missing_and_torn_files_are_left_out(run, missing, how):
    path = run / missing
    if path.is_dir():
        shutil.rmtree(path)
    elif how == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:40])
    Balanced(report.render(run))


def test_a_run_that_just_began(tmp_path):
    page = Balanced(report.render(new_run(tmp_path)))
    assert [attributes["id"] for attributes in page.all("section")] == ["settings"]
    assert "no record yet" in page.words


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "",
        "- 1",
        "data: 5\ntrain: [x]\ncodec: {patch: 0, size: nonsense}",
        "a: {b: {c: [[1]]}}",
        "train: {documents: -1, time: 0}",
        "data: {size: true}\ncodec: {patch: 2}",
        "\x00",
    ],
)
def test_settings_of_any_kind(tmp_path, text):
    run = new_run(tmp_path)
    (run / "config.yaml").write_text(text)
    (run / "records.jsonl").write_text(json.dumps(record(1)) + "\n")
    assert report.state(run)["status"] == "stopped"
    Balanced(report.render(run))


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(CheckpointError, match="is not a run: it has no config.yaml"):
        report.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_page(run, monkeypatch):
    old, before = report.write(run).read_bytes(), sorted(path.name for path in run.iterdir())
    (run / "evaluation.json").unlink()

    def fail(*_):
        raise OSError("no")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):
        report.write(run)
    assert (run / "report.html").read_bytes() == old
    assert sorted([*(path.name for path in run.iterdir()), "evaluation.json"]) == before


def test_the_same_folder_gives_the_same_page(run):
    assert report.render(run) == report.render(run)


# ---------------------------------------------------------------------------------------------------- numbers


def test_bits_and_tokens_of_a_picture_are_stated_with_its_size(tmp_path):
    run = new_run(tmp_path)
    (run / "config.yaml").write_text("data: {set: photos64, size: 64}\ncodec: {kind: fsq}\n")
    codes = {"tokens": 64, "vocabulary": 16, "bits": 256, "used_bits": 3.9}
    (run / "evaluation.json").write_text(json.dumps({"codes": codes}))
    text = words(run)
    for part in ("nominal bits of a picture of 64 px 256", "tokens of a picture of 64 px 64"):
        assert part in text
    assert "used bits of a token, of training pictures 3.9" in text
    (run / "config.yaml").write_text("data: {set: photos64, size: none}\n")
    assert "nominal bits of a picture 256" in words(run)


def test_wilson_interval_against_published_values():
    """Newcombe 1998, Statistics in Medicine 17, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for count, of, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(count / of, of) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.process
def test_torch_is_not_imported():
    code = "import sys, rawmm_cli.pages.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    "head, words",
    [
        ({"kind": "diffusion", "prediction": "clean", "loss": "noise"}, "predicts clean, loss in noise"),
        ({"kind": "masked", "schedule": "cosine", "loss": "bound"}, "masked by cosine, loss bound"),
        ({"kind": "autoregressive", "z_loss": 0.0}, "codes one after the other"),
        ({"kind": "autoregressive", "z_loss": 0.01}, "codes one after the other, z-loss 0.01"),
        ({"kind": "scales"}, None),
    ],
)
def test_the_head_in_words(tmp_path, head, words):
    shown = facts.facts_of(tmp_path, {"head": head}, [], {})
    assert shown.get(f"{head['kind'].capitalize()} head") == words


def test_a_codec_inside_a_model_is_named_with_its_run(tmp_path):
    learned = {"kind": "fsq", "levels": [4, 4], "factor": 2}
    codec = {"kind": "fsq", "run": "digits-fsq", "hash": "0" * 64, "size": 8, "learned": learned}
    shown = facts.facts_of(tmp_path, {"codec": codec}, [], {})
    assert shown["Codec"] == "FSQ, levels 4 4, 2 px a position, frozen, of run digits-fsq"
    assert "Patches" not in shown
