"""Rounds -> medians, ratios with their ranges, and a table."""

from statistics import median

from .settings import OURS, PATCHES, PEER, QUIET


def rates(measured: dict) -> dict[str, float]:
    """Documents (= images) and positions a second of one timing."""
    documents = measured["documents"] / measured["seconds"]
    return {"images_per_second": documents, "positions_per_second": documents * measured["positions"]}


def summary(rounds: list[dict], modes: list[str]) -> dict:
    """Medians by side, and ratios of each of rawmm's sides to each of the peer's: median, lowest and
    highest of the rounds.

    Disturbed rounds count only where all are disturbed; `undisturbed` is the number of the others."""
    medians = {}
    for side in rounds[0]:
        speeds = [rates(turn[side]) for turn in best(rounds, side)]
        medians[side] = {key: median(one[key] for one in speeds) for key in speeds[0]}
    ratios = {}
    for ours in (f"rawmm {name}" for name in OURS):
        for theirs in (f"{PEER} {mode}" for mode in modes):
            pairs = [(rates(turn[ours]), rates(turn[theirs])) for turn in best(rounds, ours, theirs)]
            ratios[f"{ours} / {theirs}"] = {
                **{key: spread([a[key] / b[key] for a, b in pairs]) for key in pairs[0][0]},
                "undisturbed": len(quiet(rounds, ours, theirs)),
                "rounds": len(rounds),
            }
    return {"medians": medians, "ratios": ratios}


def quiet(rounds: list[dict], *sides: str) -> list[dict]:
    """Rounds in which other processes took at most QUIET of the cores while these sides were timed."""
    return [turn for turn in rounds if all((turn[side]["others"] or 0) <= QUIET for side in sides)]


def best(rounds: list[dict], *sides: str) -> list[dict]:
    """The quiet rounds, or all where there is none."""
    return quiet(rounds, *sides) or rounds


def spread(values: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": median(values), "lowest": min(values), "highest": max(values)}


def table(result: dict) -> str:
    """The result as text."""
    machine = result["machine"]
    lines = [
        f"{machine['processor']}, {machine['threads']} threads of {machine['cores']} cores, torch "
        f"{machine['torch']}; {result['method']['rounds']} rounds of {result['method']['seconds']:g} s in "
        f"turn; {PATCHES} patches a picture"
    ]
    for name, setting in result["settings"].items():
        lines += [
            "",
            f"{name:<36}{'parameters':>12}{'positions':>11}{'images/s':>10}{'positions/s':>13}{'others':>8}",
        ]
        for side, rate in setting["medians"].items():
            positions = rate["positions_per_second"] / rate["images_per_second"]
            lines.append(
                f"{side:<36}{setting['parameters'][side]:>12,}{positions:>11g}{rate['images_per_second']:>10.1f}"
                f"{rate['positions_per_second']:>13,.0f}{_others(setting['rounds'], side):>8}"
            )
        for pair, ratio in setting["ratios"].items():
            lines.append(
                f"{pair:<53} positions/s {_range(ratio['positions_per_second'])}, "
                f"images/s {_range(ratio['images_per_second'])}{_warning(ratio)}"
            )
        for mode, tried in setting["tries"].items():
            speed = tried.get("failed") or f"{tried['documents'] / tried['seconds']:.1f} images/s"
            lines.append(f"  tried: {PEER} {mode}: {speed}")
    return "\n".join(lines)


def _range(ratio: dict) -> str:
    return f"{ratio['median']:.2f} x ({ratio['lowest']:.2f} to {ratio['highest']:.2f})"


def _warning(ratio: dict) -> str:
    if ratio["undisturbed"] == ratio["rounds"]:
        return ""
    warning = "" if ratio["undisturbed"] else ", do not use"
    return f"; undisturbed rounds: {ratio['undisturbed']} of {ratio['rounds']}{warning}"


def _others(rounds: list[dict], side: str) -> str:
    shares = [turn[side]["others"] for turn in best(rounds, side) if turn[side]["others"] is not None]
    return f"{max(shares):.0%}" if shares else "?"
