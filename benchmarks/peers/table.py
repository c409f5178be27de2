"""From rounds to figures: medians, ratios with their range, and the table."""

from statistics import median

from .settings import OURS, PATCHES, PEER


def rates(measured: dict) -> dict[str, float]:
    """Documents (= images) and positions a second of one timing."""
    documents = measured["documents"] / measured["seconds"]
    return {"images_per_second": documents, "positions_per_second": documents * measured["positions"]}


def summary(rounds: list[dict], modes: list[str]) -> dict:
    """-> medians by side, and for each of ours against each of theirs the ratio of each round: median, lowest, highest."""
    found = {side: [rates(turn[side]) for turn in rounds] for side in rounds[0]}
    medians = {side: {key: median(one[key] for one in each) for key in each[0]} for side, each in found.items()}
    ratios = {}
    for ours in (f"rawmm {name}" for name in OURS):
        for theirs in (f"{PEER} {mode}" for mode in modes):
            ratios[f"{ours} / {theirs}"] = {
                key: spread([a[key] / b[key] for a, b in zip(found[ours], found[theirs])])
                for key in ("positions_per_second", "images_per_second")}
    return {"medians": medians, "ratios": ratios}


def spread(values: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": median(values), "lowest": min(values), "highest": max(values)}


def table(result: dict) -> str:
    """The result as text for a person."""
    machine = result["machine"]
    lines = [f"{machine['processor']}, {machine['threads']} threads of {machine['cores']} cores, torch {machine['torch']}; "
             f"{result['method']['rounds']} rounds of {result['method']['seconds']:g} s in turn; {PATCHES} patches a picture"]
    for name, setting in result["settings"].items():
        lines += ["", f"{name:<36}{'parameters':>12}{'positions':>11}{'images/s':>10}{'positions/s':>13}{'others':>8}"]
        for side, rate in setting["medians"].items():
            positions = rate["positions_per_second"] / rate["images_per_second"]
            lines.append(f"{side:<36}{setting['parameters'][side]:>12,}{positions:>11g}{rate['images_per_second']:>10.1f}"
                         f"{rate['positions_per_second']:>13,.0f}{_others(setting['rounds'], side):>8}")
        for pair, ratio in setting["ratios"].items():
            lines.append(f"{pair:<53} positions/s {_range(ratio['positions_per_second'])}, "
                         f"images/s {_range(ratio['images_per_second'])}")
        for mode, tried in setting["tries"].items():
            told = tried.get("failed") or f"{tried['documents'] / tried['seconds']:.1f} images/s"
            lines.append(f"  tried: {PEER} {mode}: {told}")
    return "\n".join(lines)


def _range(ratio: dict) -> str:
    return f"{ratio['median']:.2f} x ({ratio['lowest']:.2f} to {ratio['highest']:.2f})"


def _others(rounds: list[dict], side: str) -> str:
    shares = [turn[side]["others"] for turn in rounds if turn[side]["others"] is not None]
    return f"{max(shares):.0%}" if shares else "?"
