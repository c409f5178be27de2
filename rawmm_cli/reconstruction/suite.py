"""The suite of published tokenizers (`runs/public.py`): its words, its table, and reported figures beside
measured ones."""

from dataclasses import asdict

from ..runs import public
from ..system.errors import ConfigError, printable
from ..system.figures import short
from .results import Row
from .table import Table, number

LEGEND = """* to be accepted: --accept-licence NAME. ~ computed. rFID as reported, each by its own protocol.
Sources, and what was never tried with the real weights: docs/choose-a-tokenizer.md"""


def words(codec: list[str], suite: str | None) -> list[str]:
    """Words of --codec, after those of the suite. Raises ConfigError for an unknown suite."""
    if suite is None:
        return codec or ["ode"]
    if suite != "public":
        raise ConfigError(f"unknown suite '{printable(suite)}'; allowed: public, list")
    names = [public.PREFIX + row.name for row in public.table()]
    return [*names, *(word for word in codec if word not in names)]


def rows() -> list[dict]:
    """The table for JSON: every field, with the nominal bits at `side`."""
    return [{**asdict(row), "files": row.paths, "bits": row.bits} for row in public.table()]


def listing() -> Table:
    """The table for the terminal."""
    heads = ["name", "id", "at", "tokens", "of", "bits", "licence", "MB", "rFID", "on"]
    cells = [
        [
            row.name,
            row.repo,
            f"{row.side} px",
            short(row.length),
            short(row.vocabulary) if row.vocabulary else f"{row.values} numbers",
            number(row.bits, short),
            row.terms + (" *" if row.accept else ""),
            row.megabytes,
            number(row.rfid, "{:.2f}".format),
            row.test or "",
        ]
        for row in public.table()
    ]
    return heads, cells, (2, 3, 4, 5, 7, 8)


def published(measured: list[Row]) -> dict:
    """Where published tokenizers come from and what was reported of them, by word, for JSON; nothing where
    there are none."""
    facts = {row.codec: public.facts(row.codec) for row in measured}
    facts = {word: each for word, each in facts.items() if each}
    return {"published": facts} if facts else {}


def beside(measured: list[Row]) -> Table | None:
    """Reported figures beside the measured PSNR; None where there are none."""
    heads = ["codec", "PSNR here", "PSNR reported", "rFID reported", "on", "by"]
    facts, cells = published(measured).get("published", {}), []
    for row in measured:
        each = facts.get(row.codec)
        if each and each["source"]:
            numbers = [number(value, "{:.2f}".format) for value in (row.psnr, each["psnr"], each["rfid"])]
            cells.append([row.name, *numbers, each["test"], each["source"]])
    return (heads, cells, (1, 2, 3)) if cells else None
