"""Cells -> results.json, which the page, the answer and `--json` read. No torch here.

comparisons/NAME/results.json
comparisons/NAME/report.html
comparisons/NAME/runs/SYSTEM-SEED-BUDGET/     ordinary runs of `rawmm train`, those of codecs among them
comparisons/NAME/cells/SYSTEM-SEED-BUDGET/    what was measured of a run:
    cell.json       what the cell is
    trials.json     the search
    result.json     how it ended; a finished cell has it, and no other
    values.json     {metric: {"ids": [...], "values": [...]}}: numbers of single pictures or prompts, with the
                    same ids in every system of the comparison
    drawn.png, drawn.json, read.json, read/*.png   the same prompts drawn, the same pictures read
                                                   (`runs/sheets.py`)
    kept.png, kept.json    some of them before and after the codec, {"psnr": [...]} (`codec_pictures.py`)
    curve.json      {"steps": [...], METRIC: [...]} quality against steps, where a system has any
"""

from typing import Any, Literal, TypedDict

from ..system.figures import finite

State = Literal["done", "diverged", "failed", "waiting"]
BudgetKind = Literal["time", "documents", "flops"]


class Metric(TypedDict):
    """A column. title: "drawn right". unit: "%" (values from 0 to 1), "bits", "s" or "". evaluator: the files
    in `evaluation/` that may measure it, with commas, or "" where the run itself says it."""

    title: str
    unit: str
    better: Literal["higher", "lower", "neither"]
    part: Literal["drawing", "reading", "codec", "cost"]
    evaluator: str


class Codec(TypedDict):
    """run: of the first seed, below the comparison's folder. bits: of a picture, None of a continuous one.
    psnr: of held-out pictures of the comparison, in dB."""

    kind: str
    run: str
    bits: float | None
    parameters: int
    psnr: float | None


class System(TypedDict):
    """bits: of a picture as the model sees it; None of vectors that a codec made. learning_rate: of the
    sweep, {"trials": [{"factor", "loss"}], "chosen": factor}, or None without one."""

    name: str
    preset: str
    settings: list[str]
    parameters: int | None
    codec: Codec | None
    bits: float | None
    learning_rate: dict[str, Any] | None


class Cell(TypedDict):
    """The reference has one run, which stands in both budgets. seconds: codec, train, search, measure (None
    before they are known), draw (of a picture). flops: codec, train, draw (of a picture). memory: bytes, the
    most that the process held. results: {metric: number}. curve: [{"documents", "seconds", "loss"}] of the
    training. state: "diverged" is a result; "failed" has its reason in message; "waiting" has none yet."""

    system: str
    seed: int
    budget: BudgetKind
    run: str
    folder: str
    state: State
    message: str | None
    documents: int | None
    epochs: float | None
    seconds: dict[str, float | None]
    flops: dict[str, float | None]
    memory: int | None
    sampler: dict[str, Any]
    trials: list[dict[str, Any]]
    results: dict[str, float]
    curve: list[dict[str, float]]


class Difference(TypedDict):
    """system minus the reference `against`, at an equal budget. interval: 95 %, of the paired bootstrap over
    seeds and pictures; over pictures alone where seeds = 1, over seeds alone where pictures = 0; None where
    nothing tells a spread. p_holm: p after Holm's correction over the systems. claimed: the interval does not
    cover zero and p_holm < 0.05."""

    metric: str
    budget: BudgetKind
    system: str
    against: str
    difference: float
    interval: list[float] | None
    p: float | None
    p_holm: float | None
    claimed: bool
    seeds: int
    pictures: int


class Results(TypedDict):
    """results.json. budget: {"kind": what was given, "time": seconds, "documents": N, "flops": X or absent,
    "reference": system}, those that follow from the reference None before it is done. left_out: {evaluator:
    why it was left out}."""

    name: str
    question: str
    created: str
    machine: dict[str, Any]
    version: str
    data: dict[str, Any]
    budget: dict[str, Any]
    seeds: list[int]
    metrics: dict[str, Metric]
    left_out: dict[str, str]
    systems: list[System]
    cells: list[Cell]
    differences: list[Difference]
    answer: list[str]


def _metric(title: str, part: str, evaluator: str, unit: str = "%", better: str = "higher") -> Metric:
    return {"title": title, "unit": unit, "better": better, "part": part, "evaluator": evaluator}


# What the comparison takes from the results of the evaluators: "result.field" -> its column. A new evaluator
# adds its lines here. Numbers of single pictures are taken from "values" of the same result.
METRICS: dict[str, Metric] = {
    "text_to_image.accuracy": _metric("drawn right", "drawing", "classes, attributes"),
    "image_to_text.accuracy": _metric("read right", "reading", "classes, attributes, captions"),
    "image_to_text.characters": _metric("characters right", "reading", "captions"),
    "image_to_text.words": _metric("words right", "reading", "captions"),
    "image_to_text.character_errors": _metric("character errors", "reading", "captions", "%", "lower"),
    "drawn_text.characters": _metric("characters drawn right", "drawing", "drawn_text"),
    "drawn_text.right": _metric("texts drawn right", "drawing", "drawn_text"),
    "drawn_text.real.characters": _metric("read on real pictures", "drawing", "drawn_text", "%", "neither"),
    "drawn_text.codec.characters": _metric("read after the codec", "codec", "drawn_text"),
    "questions.accuracy": _metric("questions right", "reading", "questions"),
    "sums.text": _metric("sums in words", "reading", "sums"),
    "sums.picture": _metric("sums as pictures", "drawing", "sums"),
    "classification_accuracy_score.accuracy": _metric(
        "accuracy learned from drawings", "drawing", "fidelity"
    ),
    "fidelity.kid": _metric("KID", "drawing", "fidelity", "", "lower"),
    "fidelity.precision": _metric("precision", "drawing", "fidelity"),
    "fidelity.recall": _metric("recall", "drawing", "fidelity"),
    "fidelity.density": _metric("density", "drawing", "fidelity", ""),
    "fidelity.coverage": _metric("coverage", "drawing", "fidelity"),
    "copies.copies": _metric("copies", "drawing", "copies", "%", "lower"),
    "copies.shifted": _metric("moved copies", "drawing", "copies", "%", "lower"),
    "copies.identical": _metric("copies to the bit", "drawing", "copies", "%", "lower"),
    "copies.nearer": _metric("drawings nearer than real ones", "drawing", "copies", "%", "neither"),
    "diversity.distance": _metric("differences of drawings", "drawing", "diversity", "", "neither"),
    "diversity.bits": _metric("bits a prompt leaves open", "drawing", "diversity", "bits", "neither"),
    "diversity.collision_bits": _metric("bits by repetition", "drawing", "diversity", "bits", "neither"),
    "seams.ratio": _metric("seams of patches", "drawing", "seams", "", "lower"),
    "sharpness.ratio": _metric("sharpness", "drawing", "seams", "", "neither"),
    "cost.evaluations": _metric("evaluations a picture", "cost", "cost", "", "lower"),
    "cost.positions": _metric("positions a picture", "cost", "cost", "", "lower"),
    "held_out.bits_per_byte": _metric("bits a byte of captions", "reading", "losses", "bits", "lower"),
    "held_out.bits_per_dim": _metric("bits/dim, exact", "drawing", "losses", "bits", "lower"),
    "held_out.bits_per_dim_bound": _metric("bits/dim, a bound", "drawing", "losses", "bits", "lower"),
    "likelihood.bits_per_dim_bound": _metric(
        "bits/dim of diffusion, a bound", "drawing", "bits", "bits", "lower"
    ),
    "held_out.bits_per_dim_density": _metric("bits/dim, by a density", "drawing", "losses", "bits", "lower"),
}


def evaluators(metric: str) -> list[str]:
    """Names of the evaluators that may measure a metric: which one depends on the set."""
    return [name for name in METRICS[metric]["evaluator"].split(", ") if name]


def numbers(whole: dict[str, Any]) -> dict[str, float]:
    """{metric: number} of what the evaluators said, `whole`; without those that are missing or not finite."""
    values = {metric: _at(whole, metric.split(".")) for metric in METRICS}
    return {metric: float(value) for metric, value in values.items() if finite(value)}


def _at(value: Any, path: list[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
