"""The card of an exported model, for people: what it does, what it learned from, what made it, what it
reaches.

Everything is taken from the model's own files; what is not known is said so (after Mitchell et al. 2019,
arXiv 1810.03993)."""

from ..config import presets
from ..config.model import Config

USE = """```sh
rawmm sample "..." --model {name}
rawmm sample --task caption --image picture.png --model {name}
```"""


def text(facts: dict, config: Config, tuned: dict, digest: str) -> str:
    """model.json, the settings, sampler.json and the hash of the weights -> Markdown."""
    backbone = config.backbone
    preset = next((name for name in presets.names() if presets.load(name) == config), None)
    command = (
        f"rawmm train --preset {preset}"
        if preset
        else f"rawmm train --preset config.yaml --run {facts['name']}"
    )
    parts = [
        f"# {facts['name']}\n\nA model of rawmm: one Transformer that writes text, draws pictures of "
        f"{config.data.size}x"
        f"{config.data.size} pixels as raw patches of {config.codec.patch} x {config.codec.patch}, and "
        f"reads pictures, with the "
        f"same weights.\n\n{USE.format(name=facts['name'])}",
        "## What it is\n\n"
        + _table(
            [
                ("parameters", f"{facts['parameters']:,}, fp32 ({4 * facts['parameters'] / 1e6:.1f} MB)"),
                ("backbone", f"{backbone.kind}, width {backbone.width}, depth {backbone.depth}"),
                (
                    "text",
                    "bytes"
                    if config.text_tokenizer.kind == "bytes"
                    else f"{config.text_tokenizer.vocabulary} learned pieces",
                ),
                ("weights", f"average of the run (EMA); SHA-256 begins with {digest}"),
                ("settings", "[config.yaml](config.yaml)"),
            ]
        ),
        "## What it learned from\n\n" + _data(facts, config),
        "## What made it\n\n```sh\n" + command + "\n```\n\n" + _made(facts),
        "## What it reaches\n\n" + _reached(facts["evaluation"]),
    ]
    if tuned:
        rows = [
            (
                f"{steps} steps",
                f"{one['error']:.2f} levels of 255 from its own {one['reference']} steps; "
                f"{one['before']:.2f} before",
            )
            for steps, one in sorted(tuned.items(), key=lambda item: int(item[0]))
        ]
        parts.append(
            "## Tuned grids\n\nUsed wherever so many steps are taken ([sampler.json](sampler.json)):\n\n"
            + _table(rows)
        )
    return "\n\n".join(parts) + "\n"


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


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


def _made(facts: dict) -> str:
    machine = facts.get("machine") or {}
    where = ", ".join(
        f"{name} {machine[name]}" for name in ("device", "threads", "precision", "torch") if name in machine
    )
    minutes = facts["seconds"] / 60
    return f"{facts['documents']:,} documents, {minutes:.0f} minutes ({where or 'machine unknown'})."


def _reached(found: dict | None) -> str:
    """The results of `rawmm evaluate`, as far as there are any."""
    if not found:
        return "It was not evaluated."
    rows = []
    if drawn := found.get("text_to_image"):
        right = "unknown" if drawn["accuracy"] is None else f"{drawn['accuracy']:.1%}"
        rows.append(
            (
                "drawings that are as their caption says",
                f"{right} of {drawn['count']:,} "
                f"({drawn['steps']} steps, {drawn['solver']}, guidance {drawn['guidance']:g})",
            )
        )
    for name, how in (("image_to_text", "greedily"), ("image_to_text_sampled", "at temperature 1")):
        if read := found.get(name):
            rows.append(
                (
                    f"what it says of unseen pictures is right ({how})",
                    f"{read['accuracy']:.1%} of {read['count']:,}",
                )
            )
    if written := found.get("written"):
        rows.append(
            (f'captions made up after "{written["prompt"]}" that can be parsed', f"{written['parsed']:.1%}")
        )
    for name, share in found.get("text_to_image", {}).get("by_attribute", {}).items():
        judge = found["text_to_image"]["judges"][name]
        rows.append(
            (
                f"drawn: {name.replace('_', ' ')}",
                f"{share:.1%} (the judge is right on {judge:.1%} of real ones)",
            )
        )
    if looks := found.get("looks"):
        rows.append(("KID on the judges' features", f"{looks['kid']:.5f}"))
        rows.append(
            (
                "white ground, levels of 255 off",
                f"{looks['corners']['drawn']:.2f} (real {looks['corners']['real']:.2f})",
            )
        )
        if near := looks.get("nearest"):
            rows.append(
                (
                    "distance to the nearest training picture, levels of 255",
                    f"median {near['drawn']['median']:.1f}, least {near['drawn']['min']:.1f} (unseen real "
                    f"ones: "
                    f"median {near['real']['median']:.1f}, least {near['real']['min']:.1f})",
                )
            )
    losses = found["held_out"]
    rows.append(
        ("held out: image loss", f"{losses['image']:.4f}")
        if "image" in losses
        else ("held out", "text alone")
    )
    if "bits_per_byte" in losses:
        rows.append(("held out: captions", f"{losses['bits_per_byte']:.3f} bits a byte"))
    return _table(rows) + "\n\nMeasured by `rawmm evaluate` on documents that it was not trained on."
