"""Rows over all pictures -> findings in sentences: what survived, what looks better than it is, caveats.

Whether a reconstruction resembles its picture is measured against the picture of its mean colour, which says
nothing of what is on it: noise is sharp, too."""

import math

from ..information import catalogue
from ..metrics import codes
from ..system.figures import counted, fraction
from .choices import Choice
from .results import Correlation, MeanColour, Row, TextBaseline

SHARPER, FARTHER = 1.05, 0.25  # factor of sharpness, dB of PSNR: smallest differences that are reported
NEARER = 0.5  # dB of PSNR above the mean colour, from which a reconstruction resembles its picture
LEARNED = ("tokenizer", "ode")


def findings(
    rows: list[Row],
    choices: list[Choice],
    text: TextBaseline | None,
    bits_and_text: Correlation | None,
    mean_colour: MeanColour,
    pictures: int,
) -> list[str]:
    """Findings in sentences: what survived, then what looks better than it is, then caveats."""
    by_word = {row.codec: row for row in rows}
    lossless = [row.name for row in rows if row.lossless == 1]
    sentences = [f"{_listed(lossless)} reconstructed every picture bit for bit."] if lossless else []
    sentences += [
        _beside(by_word[choice.word], by_word[choice.budget])
        for choice in choices
        if choice.budget in by_word and not by_word[choice.word].over_budget
    ]
    if text:
        sentences += _text(text, pictures)
    if bits_and_text:
        published = catalogue.text_survival().all
        sentences.append(
            f"Over {counted(bits_and_text.tokenizers, 'tokenizer')}, bits and text survival have a rank "
            "correlation of "
            f"{bits_and_text.correlation:.2f} (Spearman); over the {published.tokenizers} of TokBench whose "
            f"bits are known, {published.spearman:.2f}."
        )
    like = [row for row in rows if not below(row, mean_colour) and not row.over_budget]
    sentences += filter(None, (_invented(row, like) for row in like if row.kind in LEARNED))
    sentences += [
        _untrained(row, low) for row in rows if row.kind in LEARNED and (low := below(row, mean_colour))
    ]
    return [*sentences, *_sections(rows), *_unfitting(rows), *_over_budget(rows), *_few_codes(rows)]


def below(row: Row, mean_colour: MeanColour) -> list[str]:
    """Measures by which reconstructions are no nearer to the originals than their mean colours are, in words:
    of a codec whose pictures resemble the originals none."""
    words = []
    if row.psnr < mean_colour.psnr + NEARER:
        words.append(f"PSNR ({row.psnr:.1f} dB against {mean_colour.psnr:.1f})")
    if row.ssim is not None and mean_colour.ssim is not None and row.ssim <= mean_colour.ssim < 1:
        words.append(f"SSIM ({row.ssim:.2f} against {mean_colour.ssim:.2f})")
    return [] if row.lossless == 1 else words


def _untrained(row: Row, low: list[str]) -> str:
    return (
        f"{row.name} is not trained yet, or not for such pictures: by {_listed(low)} they come back no "
        f"nearer than their mean colours are."
    )


def _invented(row: Row, rows: list[Row]) -> str | None:
    """A sentence where a codec looks sharper than another but is farther from the originals, as a GAN may
    be."""

    def nearer(other: Row) -> bool:
        sharper = (row.sharpness or 0) > SHARPER * (other.sharpness or math.inf)
        return sharper and row.psnr < other.psnr - FARTHER

    others = sorted(filter(nearer, rows), key=lambda other: (other.bits or math.inf, other.psnr))
    if not others:
        return None
    other = others[0]
    gap = f"whose PSNR is {other.psnr - row.psnr:.1f} dB higher"
    if math.isinf(other.psnr):
        gap = "which is exact"
    return (
        f"{row.name} looks sharper than {other.name} ({row.sharpness:.2f} of the originals' edges against "
        f"{other.sharpness:.2f}), {gap}: part of what looks like detail is not the picture's."
    )


def _unfitting(rows: list[Row]) -> list[str]:
    """Sentences on codecs that cannot take pictures as they are."""
    padded = [f"{row.name} ({row.padded:,})" for row in rows if row.padded]
    tiled = [f"{row.name} ({row.tiled:,})" for row in rows if row.tiled]
    ways = (("padded and cropped back", padded), ("cut into tiles", tiled))
    return [f"Pictures that do not fit were {way} by {_listed(names)}." for way, names in ways if names]


def _over_budget(rows: list[Row]) -> list[str]:
    names = [
        f"{row.name} ({counted(row.over_budget, 'picture')}, {row.bits:,.0f} bits a picture on average)"
        for row in rows
        if row.over_budget
    ]
    if not names:
        return []
    return [f"Over budget, as no file is so small, and left out of the plots: {_listed(names)}."]


def _sections(rows: list[Row]) -> list[str]:
    """Sentences on the codes that each codebook or scale uses."""
    sentences = []
    for row in rows:
        each = {name.replace("_", " "): one for name, one in (row.sections or {}).items()}
        used = [
            f"{one.codes_seen:,} at {name} (perplexity {one.perplexity:.1f})" for name, one in each.items()
        ]
        gone = [name for name, one in each.items() if one.collapsed]
        sentences += [f"{row.name} uses, of {row.vocabulary:,} codes, {_listed(used)}."] if each else []
        sentences += [f"The codes of {row.name} have collapsed at {_listed(gone)}."] if gone else []
    return sentences


def _few_codes(rows: list[Row]) -> list[str]:
    names = [f"{row.name} ({counted(row.vocabulary, 'entry')})" for row in rows if row.enough_codes is False]
    if not names:
        return []
    return [
        f"Used bits are a rough estimate where the vocabulary is large for so few pictures, with fewer than "
        f"{codes.ENOUGH} codes for each of its entries: {_listed(names)}."
    ]


def _beside(file: Row, other: Row) -> str:
    """A sentence that compares an image file with a codec of at least as many bits."""
    if math.isinf(file.psnr) or math.isinf(other.psnr):
        gap = "as near" if file.psnr == other.psnr else "exact" if math.isinf(file.psnr) else "not exact"
    else:
        side = "nearer" if file.psnr > other.psnr else "farther"
        gap = f"{abs(file.psnr - other.psnr):.1f} dB {side}"
    text = ""
    if file.text_survival is not None and other.text_survival is not None:
        text = f", and {file.text_survival:.0%} of its text survives against {other.text_survival:.0%}"
    scale = "" if file.scale in (None, 1) else f" (shrunk to {fraction(file.scale)} of its sides first)"
    return f"At no more bits than {other.name}, {file.name}{scale} is {gap}{text}."


def _text(text: TextBaseline, pictures: int) -> list[str]:
    if not text.readable:
        return ["No text could be read on any original, so there is none that could survive."]
    clean = ""
    if text.known:
        words = "" if text.right_words is None else f", {text.right_words:.1%} of words"
        clean = (
            f"; of the text known to be written on {text.known:,} of them, {text.right_letters:.1%} of "
            f"letters are read correctly{words}"
        )
    return [
        f"Clean baseline: text is read on {text.readable:,} of {counted(pictures, 'original')}; of "
        f"{text.read_twice} that were read twice, {text.same_twice} gave the same text{clean}."
    ]


def _listed(parts: list[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
