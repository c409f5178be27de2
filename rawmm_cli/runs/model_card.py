"""The card of an exported model, for people: what it does, what it learned from, what made it, what it
reaches.

Everything is taken from the model's own files; what is not known is said so (after Mitchell et al. 2019,
arXiv 1810.03993)."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ..config import presets
from ..config.model import Config
from ..config.tokens import FrozenCodec
from ..system.errors import printable
from ..system.figures import counted

Rows = Iterable[tuple[str, str]]
IDLE = "workers threads compile log_every sample_every save_every keep trackers".split()  # settings of a run

USE = """```sh
rawmm sample "..." --model {name}
rawmm sample --task caption --image picture.png --model {name}
```"""


def text(facts: dict, config: Config, tuned: dict, seen: dict, digest: str) -> str:
    """model.json, the settings, sampler.json, seen.json and the hash of the weights -> Markdown."""
    parts = [
        f"# {facts['name']}\n\n{_about(config)}\n\n" + _use(config).format(name=facts["name"]),
        "## What it is\n\n" + _model(facts, config, digest),
        "## What it learned from\n\n" + _data(facts, config),
        "## What it has seen\n\n" + _seen(seen),
        "## What made it\n\n" + _training(facts, config),
        "## What it reaches\n\n" + _evaluation(facts.get("evaluation")),
    ]
    if tuned:
        parts.append("## Tuned grids\n\n" + _grids(tuned))
    return "\n\n".join(parts) + "\n"


def _about(config: Config) -> str:
    """What it does, in a sentence."""
    pictures = f"pictures of {config.data.size}x{config.data.size} pixels"
    if config.baseline is not None:
        what = {"unet": "a U-Net", "flow": "an invertible flow"}[config.baseline.kind]
        return (
            f"A baseline of rawmm: {what} that draws {pictures} behind a Transformer that writes text and "
            "reads captions. It does not read pictures."
        )
    return (
        f"A model of rawmm: one Transformer that writes text, draws {pictures} as {_tokens(config)}, and "
        "reads pictures, with the same weights."
    )


def _use(config: Config) -> str:
    """Commands that work."""
    return USE if config.baseline is None else "\n".join((*USE.splitlines()[:2], "```"))


def _tokens(config: Config) -> str:
    """What pictures are inside the model."""
    codec = config.codec
    if codec.kind == "raw":
        return f"raw patches of {codec.patch} x {codec.patch}"
    if codec.kind == "shrunk":
        return f"patches of {codec.patch} x {codec.patch} of pictures shrunk {codec.factor} times"
    if codec.kind == "subpixels":
        return "single red, green and blue values"
    what = "codes" if codec.integers else "vectors"
    return f"{what} of a codec that was trained before ({codec.kind}, {codec.run})"


def _table(rows: Rows) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _model(facts: dict, config: Config, digest: str) -> str:
    backbone, tokenizer = config.backbone, config.text_tokenizer
    rows = [
        ("parameters", f"{facts['parameters']:,}, fp32 ({4 * facts['parameters'] / 1e6:.1f} MB)"),
        ("backbone", f"{backbone.kind}, width {backbone.width}, depth {backbone.depth}"),
        (
            "text",
            "bytes" if tokenizer.kind == "bytes" else f"{counted(tokenizer.vocabulary, 'learned piece')}",
        ),
        *_baseline(config),
        *_frozen(config),
        ("weights", f"average of the run (EMA); SHA-256 begins with {digest}"),
        ("settings", "[config.yaml](config.yaml)"),
    ]
    return _table(rows)


def _frozen(config: Config) -> list[tuple[str, str]]:
    """The codec that is frozen inside, where there is one."""
    if not isinstance(config.codec, FrozenCodec):
        return []
    return [("codec", f"{config.codec.kind}, frozen; SHA-256 begins with {config.codec.hash[:12]}")]


def _baseline(config: Config) -> Rows:
    """The network that stands in the place of the head, and how large it is."""
    if config.baseline is not None:
        sizes = config.baseline.model_dump(exclude={"kind"})
        words = ", ".join(f"{name} {value}" for name, value in sizes.items())
        yield "baseline", f"{config.baseline.kind}, {words}"


def _data(facts: dict, config: Config) -> str:
    names = [config.data.set, *config.data.mix]
    if not facts.get("sets"):
        return (
            f"Prepared sets: {', '.join(names)}. Their cards were not at hand when the model was exported. "
            f"Fingerprint "
            f"of the data: {facts['data']}."
        )
    rows = ["| set | training | held out | source | licence |", "|---|---|---|---|---|"]
    rows += [
        f"| {one['name']} | {one['count']['train']:,} | {one['count']['held_out']:,} | {one['source']} | "
        f"{one['licence'] or 'unknown'} |"
        for one in facts["sets"]
    ]
    return "\n".join(rows) + f"\n\nFingerprint of the data: {facts['data']}."


def _seen(seen: dict) -> str:
    """Sizes, captions, words, prompts that work, and from where on a prompt or a picture is outside."""
    if not seen:
        return "It was not measured, so nothing is marked as outside of it."
    rows = [("kinds of prompt", "; ".join(seen["kinds"]))]
    sizes = Counter()
    for one in seen["sets"]:
        for height, width, count in one["sizes"]:
            sizes[f"{width}x{height}"] += count
    if sizes:
        shown = [f"{size} ({count:,})" for size, count in sizes.most_common(5)]
        rows.append(("sizes of pictures", ", ".join(shown)))
    if captions := seen["captions"]:
        words = ", ".join(str(word) for word, _ in captions["frequent"])
        rows.append(("different captions", f"{captions['different']:,}"))
        rows.append(("words of captions", f"{captions['vocabulary']:,}; the most frequent: {_cell(words)}"))
    if own := seen["words"]:
        usual = "the rarest word of its own unseen captions takes {:.0f} to {:.0f}".format(*own["own"])
        rows.append(
            ("a prompt is outside", f"where a word takes more than {own['threshold']:.0f} bits; {usual}")
        )
    if own := seen["pictures"]:
        usual = f"unseen pictures of its own: median 1, 99 % below {own['own'][1]:.2g}"
        rows.append(
            ("a picture is outside", f"where its distance is more than {own['threshold']:.2g}; {usual}")
        )
    parts = [_table(rows)]
    others = [text for text in seen["prompts"] if text not in seen["examples"]]
    for title, texts in (("Captions that it learned from", seen["examples"]), ("Other prompts", others)):
        if texts:
            parts.append(f"{title}:\n\n" + "\n".join(f"- {_cell(text)}" for text in texts))
    return "\n\n".join(parts)


def _cell(text: str) -> str:
    """Words of other people as Markdown that is text alone."""
    return re.sub(r"([\\`*_{}\[\]<>#|!&~])", r"\\\1", " ".join(printable(text).split()))


def _training(facts: dict, config: Config) -> str:
    settings = _that_matter(config)
    preset = next((name for name in presets.names() if _that_matter(presets.load(name)) == settings), None)
    words = f"--preset {preset}" if preset else f"--preset config.yaml --run {facts['name']}"
    machine = facts.get("machine") or {}
    known = [
        f"{name} {machine[name]}" for name in ("device", "threads", "precision", "torch") if name in machine
    ]
    duration = f"{counted(facts['documents'], 'document')}, {facts['seconds'] / 60:.0f} minutes"
    where = ", ".join(known) or "machine unknown"
    return f"```sh\nrawmm train {words}\n```\n\n{duration} ({where})."


def _that_matter(config: Any) -> dict:
    """Settings without those that change nothing in a model, whose defaults may be others by now."""
    values = config.model_dump(mode="json")
    return values | {"train": {name: value for name, value in values["train"].items() if name not in IDLE}}


def _evaluation(results: dict | None) -> str:
    """The results of `rawmm evaluate`, as far as there are any."""
    if not results:
        return "It was not evaluated."
    try:
        rows = [
            *_drawing(results.get("text_to_image")),
            *_reading(results),
            *_attributes(results.get("text_to_image")),
            *_looks(results.get("looks")),
            *_foreign(results),
            *_held_out(results["held_out"]),
        ]
    except (KeyError, TypeError, ValueError, AttributeError):
        return "Its evaluation has another shape than those of this rawmm."
    return _table(rows) + "\n\nMeasured by `rawmm evaluate` on documents that it was not trained on."


def _drawing(drawn: dict | None) -> Rows:
    if drawn:
        share = "unknown" if drawn["accuracy"] is None else f"{drawn['accuracy']:.1%}"
        steps = f"{drawn['steps']} steps" if drawn["steps"] != 1 else "1 step"
        how = f"({steps}, {drawn['solver']}, guidance {drawn['guidance']:g})"
        yield "drawings that are as their caption says", f"{share} of {drawn['count']:,} {how}"


def _reading(results: dict) -> Rows:
    for name, how in (("image_to_text", "greedily"), ("image_to_text_sampled", "at temperature 1")):
        if read := results.get(name):
            share = f"{read['accuracy']:.1%} of {read['count']:,}"
            yield f"what it says of unseen pictures is right ({how})", share
    if written := results.get("written"):
        yield f'captions made up after "{written["prompt"]}" that can be parsed', f"{written['parsed']:.1%}"


def _attributes(drawn: dict | None) -> Rows:
    for name, share in (drawn or {}).get("by_attribute", {}).items():
        judge = f"(the judge is right on {drawn['judges'][name]:.1%} of real ones)"
        yield f"drawn: {name.replace('_', ' ')}", f"{share:.1%} {judge}"


def _looks(looks: dict | None) -> Rows:
    if not looks:
        return
    yield "KID on the judges' features", f"{looks['kid']:.5f}"
    corners = looks["corners"]
    yield "white ground, levels of 255 off", f"{corners['drawn']:.2f} (real {corners['real']:.2f})"
    if near := looks.get("nearest"):
        drawn, real = (
            f"median {near[of]['median']:.1f}, least {near[of]['min']:.1f}" for of in ("drawn", "real")
        )
        yield "distance to the nearest training picture, levels of 255", f"{drawn} (unseen real ones: {real})"


def _foreign(results: dict) -> Rows:
    for name, what in (("foreign_prompts", "prompts"), ("foreign_pictures", "pictures")):
        if marked := results.get(name):
            share = f"{marked['foreign']:.1%} of {marked['foreign_count']:,}"
            yield f"foreign {what} marked as outside", f"{share}; of its own {marked['own']:.1%}"


def _held_out(losses: dict) -> Rows:
    if "image" in losses:
        yield "held out: image loss", f"{losses['image']:.4f}"
        if "bits_per_dim" in losses:
            yield "held out: pixels", f"{losses['bits_per_dim']:.4f} bits/dim, exact"
        if "bits_per_dim_bound" in losses:
            yield "held out: pixels", f"{losses['bits_per_dim_bound']:.4f} bits/dim at most, by a bound"
    else:
        yield "held out", "text alone"
    if "bits_per_byte" in losses:
        yield "held out: captions", f"{losses['bits_per_byte']:.3f} bits a byte"


def _grids(tuned: dict) -> str:
    rows = [
        (
            f"{counted(int(steps), 'step')}",
            f"{one['error']:.2f} levels of 255 from its own {counted(one['reference'], 'step')}; "
            f"{one['before']:.2f} before",
        )
        for steps, one in sorted(tuned.items(), key=lambda item: int(item[0]))
    ]
    return "Used wherever so many steps are taken ([sampler.json](sampler.json)):\n\n" + _table(rows)
