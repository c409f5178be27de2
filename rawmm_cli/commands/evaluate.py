"""`rawmm evaluate`: how well a run draws and reads, measured on held-out real data."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..config.choices import EVALUATORS, USUAL
from ..system.figures import counted, duration, size
from ..system.threads import use_cpu
from . import tables
from .common import DATA, MOST_SEED, RUNS, DataDir, Device, Json, RunsDir
from .screen import emit, notify, printable

if TYPE_CHECKING:
    from ..sampling.request import Request


def evaluate(
    run: Annotated[
        Optional[str], typer.Argument(help="Name under the runs folder, or a path. [default: the newest run]")
    ] = None,
    model: Annotated[
        Optional[str],
        typer.Option(
            "--model",
            help="Instead of a run: a model inside the package, or the folder of one that "
            "`rawmm export` wrote.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the drawings.")] = 0,
    per_label: Annotated[int, typer.Option(min=1, max=10_000, help="Pictures drawn for each class.")] = 100,
    prompts: Annotated[
        int,
        typer.Option(
            min=4, max=100_000, help="Pictures drawn from captions (sets whose captions a grammar wrote)."
        ),
    ] = 1000,
    steps: Annotated[
        Optional[int], typer.Option(min=1, max=1000, help="Denoising steps. [default: the preset's]")
    ] = None,
    guidance: Annotated[
        Optional[float],
        typer.Option(min=0, help="Classifier-free guidance. [default: the preset's]"),
    ] = None,
    solver: Annotated[
        Optional[str], typer.Option(help="As in `rawmm sample`. [default: the preset's]")
    ] = None,
    size: Annotated[
        Optional[int],
        typer.Option(min=1, max=4096, help="Side of drawn pictures, in pixels. [default: as in training]"),
    ] = None,
    positions: Annotated[Optional[str], typer.Option(help="As in `rawmm sample`. [default: linear]")] = None,
    evaluators: Annotated[
        str,
        typer.Option(
            help="What is measured, with commas: `usual`, `all`, or names of evaluators: "
            f"{', '.join(EVALUATORS)}. Results are stored where the usual ones are among them."
        ),
    ] = "usual",
    device: Device = "auto",
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
) -> None:
    """Evaluate a run: text to image, image to text, held-out losses.

    Writes evaluation.json and report.html into its folder."""
    from ..sampling.request import Request, chosen

    settings = chosen(steps=steps, guidance=guidance, solver=solver, size=size, positions=positions)
    request = Request(seed=seed, settings=settings)
    use_cpu()
    from ..runs import loading, models

    folder = models.find(runs_dir, run, model) if model else loading.find_run(runs_dir, run)
    names = [name.strip() for name in evaluators.split(",")]
    result = execute(folder, request, data_dir, device, per_label, prompts, names)
    if json:
        return emit(result)
    show(result)


def execute(
    folder: Path,
    request: "Request",
    data_dir: Path,
    device: str = "auto",
    per_label: int = 100,
    prompts: int = 1000,
    evaluators: Sequence[str] = ("usual",),
) -> dict:
    """Evaluate the model in `folder` -> the object of `--json`.

    Figures measured with a run's own settings are stored in it, with its report; those of other settings are
    not, nor those of some evaluators without the usual ones. Raises ConfigError where an evaluator is
    unknown."""
    use_cpu()
    from ..evaluation.attributes import JUDGES
    from ..evaluation.evaluate import chosen
    from ..evaluation.evaluate import evaluate as measure
    from ..pages import card, report
    from ..runs import models
    from ..system import disk, machine

    names = chosen(evaluators)
    loaded = models.load(folder, machine.device(device), notify)
    own = loaded.saved != folder and not request.settings and names >= set(USUAL)
    samples = folder / "samples" if own else None
    if samples:
        samples.mkdir(exist_ok=True)
        disk.sweep(samples)
    amounts = {"per_label": per_label, "prompts": prompts, "evaluators": evaluators}
    result = {
        "run": loaded.name,
        "documents": loaded.documents,
        "train_seconds": round(loaded.seconds, 1),
        **measure(loaded, request, data_dir, **amounts, keep=samples, notify=notify),
    }
    del result["values"]  # of single pictures, for comparisons
    for prepared in data_dir.glob(JUDGES.format("*")):
        card.complete(prepared)
    if samples:
        disk.write_json(folder / "evaluation.json", result)
        result["report"] = str(report.write(folder))
    return result


def show(result: dict) -> None:
    """Print the results as a small table."""
    rows = list(_rows(result))
    if rows:
        tables.write(("", "right", "of", ""), rows)
    losses = result.get("held_out", {})
    forms = {
        "bits_per_byte": "text {:.3f} bits/byte",
        "text": "text {:.3f} nats/token",
        "image": "image loss {:.3f}",
        "bits_per_dim": "pixels {:.3f} bits/dim, exact",
        "bits_per_dim_bound": "pixels {:.3f} bits/dim at most, by a bound",
        "bits_per_dim_density": "pixels {:.3f} bits/dim at most, by an exact density",
    }
    measured = ", ".join(form.format(losses[name]) for name, form in forms.items() if name in losses)
    if losses or not rows:
        where = f"; report: {result['report']}" if "report" in result else ""
        typer.echo(printable(f"held out: {measured or 'nothing measured'}{where}"))


def _rows(result: dict) -> Iterator[tuple[str, str, str, str]]:
    """Rows: what was measured, the share that is right, of how many, and how."""
    if drawn := result.get("text_to_image"):
        right = "unknown" if drawn["accuracy"] is None else f"{drawn['accuracy']:.1%}"
        steps = "" if drawn["steps"] is None else f"{counted(drawn['steps'], 'step')}, "
        yield "text -> image", right, f"{drawn['count']:,}", f"{steps}judged"
    if read := result.get("image_to_text"):
        yield (
            "image -> text",
            f"{read['accuracy']:.1%}",
            f"{read['count']:,}",
            f"held-out real pictures, greedy{_letters(read)}",
        )
    yield from _documents(result)
    if judge := result.get("judge"):
        yield "the judge", f"{judge['held_out_accuracy']:.1%}", "", "on the same held-out pictures"
    if read := result.get("image_to_text_sampled"):
        yield "image -> text, sampled", f"{read['accuracy']:.1%}", f"{read['count']:,}", "at temperature 1"
    if written := result.get("written"):
        yield "written captions", f"{written['parsed']:.1%}", "", f'parse, after "{written["prompt"]}"'
    for name, what in (("foreign_prompts", "prompts"), ("foreign_pictures", "pictures")):
        if marked := result.get(name):
            own = f"marked as outside; of {marked['own_count']:,} own ones {marked['own']:.1%}"
            yield f"foreign {what}", f"{marked['foreign']:.1%}", f"{marked['foreign_count']:,}", own
    if seams := result.get("seams"):
        own = (
            f"steps across patches by those inside {seams['drawn']:.2f}, of real pictures {seams['real']:.2f}"
        )
        yield "seams", f"{seams['ratio']:.2f}", f"{seams['count']:,}", own
    yield from _as_a_set(result)
    yield from _asked_for(result)
    if looks := result.get("looks"):
        drawn, real = looks["corners"]["drawn"], looks["corners"]["real"]
        yield "white background", f"{drawn:.2f}", "", f"levels off white; of real pictures {real:.2f}"
        yield "KID", f"{looks['kid']:.4f}", "", "on features of the judges"


def _as_a_set(result: dict) -> Iterator[tuple[str, str, str, str]]:
    """Rows of drawings as a set, beside real pictures."""
    if sharpness := result.get("sharpness"):
        yield "sharpness", f"{sharpness['ratio']:.2f}", f"{sharpness['count']:,}", "of that of real pictures"
    if fidelity := result.get("fidelity"):
        for name in ("precision", "recall", "density", "coverage"):
            form = "{:.2f}" if name == "density" else "{:.1%}"
            own = f"of training pictures {form.format(fidelity['real'][name])}"
            yield name, form.format(fidelity[name]), f"{fidelity['count']:,}", own
        own = f"of training pictures {fidelity['real']['kid']:.4f}; {fidelity['space']}"
        yield "KID", f"{fidelity['kid']:.4f}", "", own
    if score := result.get("classification_accuracy_score"):
        own = f"of a classifier that learned from drawings; from real pictures {score['real']:.1%}"
        yield "accuracy score", f"{score['accuracy']:.1%}", f"{score['count']:,}", own
    if copies := result.get("copies"):
        own = f"nearer to a training picture than 99 % of real ones; moved {copies['shifted']:.1%}"
        yield "copies", f"{copies['copies']:.1%}", f"{copies['count']:,}", own
    if one := result.get("diversity"):
        for name, form in (("distance", "{:.2f}"), ("bits", "{:.0f}"), ("collision_bits", "{:.1f}")):
            real = one[f"{name}_real"]
            own = "of drawings of a prompt" + (
                "" if real is None else f"; of real pictures {form.format(real)}"
            )
            yield (
                f"diversity, {name.replace('_', ' ')}",
                form.format(one[name]),
                f"{one['prompts'] * one['each']:,}",
                own,
            )


def _asked_for(result: dict) -> Iterator[tuple[str, str, str, str]]:
    """Rows of text that was drawn, of steps and of the cost of a picture."""
    if text := result.get("drawn_text"):
        own = f"characters that {text['engine']} reads"
        for name, what in (("real", "on real pictures"), ("codec", "after the codec")):
            own += f", {what} {text[name]['characters']:.1%}" if name in text else ""
        yield "drawn text", f"{text['characters']:.1%}", f"{text['count']:,}", own
    if steps := result.get("steps"):
        for number, share in steps["by_steps"].items():
            own = steps.get("fixed") or counted(int(number), "step")
            yield "drawn by steps", f"{share:.1%}", f"{steps['count']:,}", own
    if bits := result.get("likelihood"):
        value = f"{bits['bits_per_dim_bound']:.3f}"
        yield "bits/dim at most", value, f"{bits['count']:,}", "by the variational bound"
    if cost := result.get("cost"):
        own = f"{counted(cost['evaluations'], 'evaluation')} of {cost['positions']:,} positions together"
        yield "FLOPs of a picture", f"{cost['flops']:.3g}", "", own
        own = f"of {cost['together']:,} at once; one alone {duration(cost['seconds_alone'])}"
        yield "time of a picture", duration(cost["seconds"]), "", own
        if cost["memory"] is not None:
            yield "memory", size(cost["memory"]), "", f"to draw {cost['together']:,} at once"


def _letters(read: dict) -> str:
    if "characters" not in read:
        return ""
    return f"; {read['characters']:.1%} of the characters, {read['words']:.1%} of the words"


def _documents(result: dict) -> Iterator[tuple[str, str, str, str]]:
    """Rows of sets of documents."""
    for words, one in result.get("questions", {"by_question": {}})["by_question"].items():
        how = f"{_range(one)}; second picture shuffled {one['shuffled']:.1%}, chance {one['chance']:.0%}"
        yield words, f"{one['accuracy']:.1%}", f"{one['count']:,}", how
    for given, one in result.get("sums", {"by_given": {}})["by_given"].items():
        for kind, how in (("text", "written"), ("picture", "drawn, judged")):
            if kind in one:
                share, note = f"{one[kind]:.1%}", f"{how}; {_range(one, f'{kind}_')}"
                yield f"sums, {given} given", share, f"{one['count']:,}", note


def _range(one: dict, prefix: str = "") -> str:
    return f"95 % interval {one[f'{prefix}low']:.1%} to {one[f'{prefix}high']:.1%}"
