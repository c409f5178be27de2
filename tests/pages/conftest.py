"""Fixtures that the tests of pages share."""

import json

import numpy as np
import pytest
from PIL import Image
from report_runs import HOSTILE, RECORDS, new_run, picture, record, while_training


@pytest.fixture
def run(tmp_path):
    """A run folder with every kind of file, and with hostile strings wherever a string can be."""
    run, samples = new_run(tmp_path), tmp_path / "demo" / "samples"
    lines = [json.dumps(record(n)) for n in range(1, RECORDS + 1)]
    (run / "records.jsonl").write_text("\n".join(lines) + '\n{"step": 99, "docu')
    (run / "evaluation.json").write_text(
        json.dumps(
            {
                "run": "demo",
                "data": HOSTILE,
                "documents": 9600,
                "text_to_image": {"accuracy": 0.998, "steps": 10, "count": 500},
                "image_to_text": {"accuracy": 0.975, "count": 360},
                "judge": {"held_out_accuracy": 0.99},
                "held_out": {"text": 0.28, "image": 1.03},
                "seconds": {"drawing": 75.0, HOSTILE: HOSTILE},
                HOSTILE: [HOSTILE],
            }
        )
    )
    while_training(samples)
    sheet = np.zeros((2 + 2 * 10, 2 + 3 * 10, 3), np.uint8)  # 3 columns, 2 rows of 8 x 8, gap 2
    for n in range(5):
        sheet[2 + n // 3 * 10 : 10 + n // 3 * 10, 2 + n % 3 * 10 : 10 + n % 3 * 10] = 50 * (n + 1)
    Image.fromarray(sheet).save(samples / "drawn.png")
    (samples / "drawn.json").write_text(
        json.dumps({"columns": 3, "captions": ["zero", HOSTILE, "", "\ud800", "four"]})
    )
    picture(samples / "read" / "000.png", 10)
    picture(samples / "read" / "001.png", 20)
    (samples / "read.json").write_text(
        json.dumps(
            [
                {"image": "read/000.png", "truth": "seven", "said": "seven"},
                {"image": "read/001.png", "truth": "two", "said": HOSTILE},
                {"image": "read/404.png", "truth": "two", "said": "two"},
                {"image": "../../secret.png", "truth": "two", "said": "two"},
                {"image": "\ud800\0", "truth": "two", "said": "two"},
                "nonsense",
            ]
        )
    )
    picture(tmp_path / "secret.png", 77)
    (run / "environment.json").write_text(
        json.dumps({"torch": "2.13.0+cpu", "nothing_set": "", HOSTILE: HOSTILE})
    )
    (run / "bad_batch.json").write_text(json.dumps({"step": 3, "problem": HOSTILE}))
    saved = run / "checkpoints" / "step_00000070"
    saved.mkdir(parents=True)
    (saved / "state.json").write_text('{"documents": 8960}')
    (saved / "MANIFEST.json").write_text(json.dumps({"state.json": {"size": 19}, HOSTILE: {"size": 1}}))
    return run
