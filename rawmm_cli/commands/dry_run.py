"""`rawmm train --dry-run`: settings and sizes of a run, on this machine or on cards that are not in it."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..system.figures import counted
from ..system.threads import use_cpu
from . import tables
from .screen import emit, notify

if TYPE_CHECKING:
    from ..config.codecs import CodecConfig
    from ..config.model import Config


def show_codec(config: "CodecConfig", as_json: bool) -> None:
    """Print the settings of a codec and the sizes of its run."""
    use_cpu(config.train.threads)
    from ..config import presets
    from ..profiling import estimate
    from ..system.figures import size

    sizes = estimate.codec(config)
    if as_json:
        return emit({"config": config.model_dump(mode="json"), **sizes})
    typer.echo(presets.dump(config).rstrip())
    side = config.data.size
    bits = (
        f"{sizes['bits']:,.0f} bits a picture of {side} px, {sizes['bits_per_pixel']:.4f} a pixel"
        if sizes["bits"]
        else "continuous"
    )
    parameters = [(f"parameters, {name}", f"{count:,}") for name, count in sizes["parameters"].items()]
    of = f" of {sizes['vocabulary']:,}" if sizes["bits"] else ""
    _write(
        [
            *parameters,
            ("tokens a picture", f"{sizes['tokens']:,}{of}"),
            ("information", bits),
            ("the whole run", f"{counted(sizes['steps'], 'step')}, {counted(sizes['documents'], 'picture')}"),
            ("a checkpoint", f"{size(sizes['checkpoint_bytes'])} on disk, {config.train.keep} are kept"),
        ]
    )


def show(
    config: "Config",
    data_dir: Path,
    device: str,
    gpus: int,
    card: str | None,
    as_json: bool,
    reasons: dict[str, str],
) -> None:
    """Print the resolved settings and the sizes of the run, without allocating a model.

    card: its name or alias; 'all': a line for each. reasons: of settings that were `auto`, for JSON. Raises
    ConfigError for an unknown card."""
    from ..profiling import cards

    known = None if card in (None, cards.ALL) else cards.named(card)
    use_cpu(config.train.threads, here=gpus)
    from ..config import presets
    from ..profiling import estimate
    from ..system import machine

    if card == cards.ALL:
        return _show_all(config, estimate.for_all_cards(config, _data(config, data_dir, gpus), gpus), as_json)
    if known is not None:
        sizes = estimate.for_card(config, known, _data(config, data_dir, gpus), gpus)
    else:
        on = machine.device(device)
        if gpus > 1 and on.type == "cpu" and device == "auto":
            notify("memory and time are those of this machine's CPU; for GPUs add --card, as in --card h100")
        sizes = estimate.estimate(config, on, estimate.load_data(config, data_dir), gpus)
    if as_json:
        why = {"reasons": reasons} if reasons else {}
        return emit({"config": config.model_dump(mode="json"), **why, **sizes})
    typer.echo(presets.dump(config).rstrip())
    _write([*_lines(sizes, config), *(_card_lines(sizes, gpus) if "card" in sizes else [])])


def _data(config: "Config", data_dir: Path, gpus: int) -> list | None:
    """The data, where the steps can be dealt out to so many ranks. Raises ConfigError."""
    from ..data.loader import check_shares
    from ..profiling import estimate
    from ..system.distributed import Ranks

    check_shares(config, Ranks(0, gpus))
    return estimate.load_data(config, data_dir)


def _write(lines: list[tuple[str, str]]) -> None:
    for name, value in lines:
        typer.echo(f"# {name:<22} {value}")


def _lines(sizes: dict, config: "Config") -> list[tuple[str, str]]:
    """The estimate as pairs of a name and a formatted value."""
    from ..system.figures import duration, size

    memory = ", ".join(
        f"{name} {size(value)}" for name, value in sizes["memory"].items() if name != "total" and value
    )
    pairs = [(f"parameters, {name}", f"{count:,}") for name, count in sizes["parameters"].items()]
    return [
        *pairs,
        _tokens(sizes, config),
        (
            "positions a step",
            f"{sizes['positions_per_step']:,} in {counted(sizes['rows'], 'row')}, {sizes['fill']:.0%} "
            "with data "
            f"(from {sizes['positions_from']})",
        ),
        ("FLOPs a step", f"{sizes['flops_per_step'] / 1e9:,.1f} G"),
        ("memory of a rank", f"{size(sizes['memory']['total'])}: {memory}"),
        ("time of a step", duration(sizes["step_seconds"])),
        (
            "the whole run",
            f"{counted(sizes['steps'], 'step')}, {counted(sizes['documents'], 'document')}, "
            f"{duration(sizes['run_seconds'])}",
        ),
        ("a checkpoint", f"{size(sizes['checkpoint_bytes'])} on disk, {config.train.keep} are kept"),
    ]


def _tokens(sizes: dict, config: "Config") -> tuple[str, str]:
    """How many tokens a picture has, and what each of them is."""
    count = f"{sizes['patches_per_picture']:,}"
    if sizes["values_per_patch"]:
        name = "patches a picture" if config.codec.kind == "raw" else "tokens a picture"
        return name, f"{count} of {sizes['values_per_patch']:,} values"
    each = f" {sizes['codes_per_patch']} x" if sizes["codes_per_patch"] > 1 else ""
    return "tokens a picture", f"{count} of{each} {sizes['vocabulary']:,} codes"


def _card_lines(sizes: dict, gpus: int) -> list[tuple[str, str]]:
    """What is estimated for a GPU besides."""
    from ..system.figures import size

    card, parts = sizes["card"], sizes["step_parts"]
    spent = ", ".join(f"{name} {1000 * value:.3g} ms" for name, value in parts.items() if value)
    lines = [("parts of a step", spent)]
    if not card["measured"]:
        lines = [
            (
                "card",
                f"{gpus} x {card['name']}: {card['flops_per_second'] / 1e12:,.0f} TFLOP/s in "
                f"{card['precision']}, {card['bandwidth'] / 1e12:.3g} TB/s, {size(card['memory'])} "
                f"({card['source']})",
            ),
            (
                "estimate",
                f"not measured: assumes {card['matmul_share']:.0%} of these FLOP/s in linear layers and "
                f"{card['bandwidth_share']:.0%} of this bandwidth; MFU {sizes['mfu']:.0%}",
            ),
            *lines,
        ]
    if gpus > 1:
        late = parts["communication"]
        lines.append(
            (
                "between cards",
                f"{size(sizes['sent_bytes'])} sent by each in a step, "
                + (
                    f"{1000 * late:.3g} ms longer than the backward pass hides"
                    if late
                    else "hidden by computation"
                ),
            )
        )
    lines.append(("fits", _fits(sizes)))
    if parts["host"] > parts["GPU"]:
        lines.append(("limit", "the GPU waits for the host to launch kernels: raise train.batch"))
    return lines


def _fits(sizes: dict) -> str:
    """'yes, ...' or 'no, ...', with what to do."""
    from ..system.figures import size

    share = f"{size(sizes['memory_needed'])} of {size(sizes['card']['memory'])}, with what CUDA itself needs"
    if sizes["fits"]:
        return f"yes: {share}"
    remedy = sizes["remedy"]
    return f"no: {share}; " + (f"set {remedy}" if remedy else "take a card with more memory, or more cards")


def _show_all(config: "Config", sizes: list[dict], as_json: bool) -> None:
    """Print a line for each card, the fastest first."""
    from ..system.figures import duration

    if as_json:
        return emit({"config": config.model_dump(mode="json"), "cards": sizes})
    rows, slow = [], False
    for one in sizes:
        card, parts = one["card"], one["step_parts"]
        launches = parts["host"] > parts["GPU"]
        slow |= launches
        rows.append(
            (
                tables.text(card["name"], "bold"),
                duration(one["run_seconds"]),
                f"{1000 * one['step_seconds']:,.0f} ms{'*' if launches else ' '}",
                f"{one['mfu']:.0%}",
                f"{one['memory_needed'] / 2**30:.1f} of {card['memory'] / 2**30:.0f} GiB",
                "yes" if one["fits"] else (one["remedy"] or "no").replace("train.", ""),
            )
        )
    tables.write(("card", "run", "step", "MFU", "memory", "fits"), rows, numbers=(1, 2, 3, 4))
    if slow:
        notify("* waits for the host to launch kernels: raise train.batch")
    notify("estimated from published rates, not measured; `--card NAME` shows parts and whole settings")
