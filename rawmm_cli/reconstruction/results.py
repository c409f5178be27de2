"""Results of `rawmm reconstruct`, and their JSON.

PSNR is infinite where nothing differs. JSON has no infinity: there it is null, and `exact` is true."""

import math
from dataclasses import asdict, dataclass, field, fields

from ..data.pictures import Skipped


@dataclass(frozen=True)
class Measures:
    """One picture after one codec.

    milliseconds: of encoding and decoding. bits, bits_per_pixel: nominal; None where tokens are real
    numbers. mse: in squared levels of 255. psnr: in dB. ssim, sharpness: None where they are not defined.
    exact_values, exact_pixels: shares that are equal bit for bit; exact: whether all are. padded: sides
    that the picture was padded to. tiles: number of tiles it was cut into. text_survival, word_survival:
    None where no text can be read on the original. right_letters, right_words: against the text that is
    known to be written there. used_bits: of its codes, by their frequencies over all pictures. scale: of a
    file, the share of its sides to which the picture was shrunk before it was coded."""

    tokens: int
    bits: float | None
    milliseconds: float
    bits_per_pixel: float | None
    mse: float
    psnr: float
    ssim: float | None
    exact_values: float
    exact_pixels: float
    sharpness: float | None
    feature_distance: float | None
    exact: bool
    padded: tuple[int, int] | None = None
    tiles: int = 1
    over_budget: bool = False
    text: str | None = None
    text_survival: float | None = None
    word_survival: float | None = None
    right_letters: float | None = None
    right_words: float | None = None
    used_bits: float | None = None
    scale: float | None = None


@dataclass(frozen=True)
class Clean:
    """Agreement of the text read on an original with what is written there. words: None where that has
    none."""

    survival: float
    words: float | None


@dataclass(frozen=True)
class MeanColour:
    """Pictures of one colour, the mean of each original, measured as if a codec had returned them: what a
    codec that says nothing else reaches. psnr: over all pixel values. ssim: None where it is not defined."""

    psnr: float
    ssim: float | None


@dataclass(frozen=True)
class PictureResult:
    """One picture after all codecs, by their words. number: its place on the command line. written: the text
    that is known to be on it. text: the text read on it. clean: the agreement of the two."""

    number: int
    name: str
    file: str
    height: int
    width: int
    written: str | None = None
    codecs: dict[str, Measures] = field(default_factory=dict)
    text: str | None = None
    clean: Clean | None = None


@dataclass(frozen=True)
class Quantiles:
    """Quantiles without interpolation, which is not defined between a number and infinity."""

    p05: float
    median: float
    p95: float


@dataclass(frozen=True)
class Section:
    """Codes of one codebook of several, or of one scale. codes_seen: distinct ones that occur. collapsed:
    whether the perplexity is at most a tenth of the codes, or of the counts where those are fewer."""

    codes_seen: int
    perplexity: float
    collapsed: bool


@dataclass(frozen=True)
class Row:
    """One codec over all pictures: means, except for mse and psnr (over all pixel values) and sharpness
    (energy of all edges). lossless: share of pictures that are exact. entropy: bits a code. codes_seen:
    number of distinct codes. enough_codes: whether there are enough codes to estimate the entropy.
    sections: of codecs with several codebooks or scales, each by its name. kid, kid_paired: None for fewer
    than 16 pictures. padded, tiled, over_budget: numbers of pictures. scale: of files, the median over
    pictures."""

    codec: str
    name: str
    kind: str
    steps: int
    vocabulary: int | None
    tokens: float | None
    bits: float | None
    bits_per_pixel: float | None
    ssim: float | None
    exact_pixels: float | None
    feature_distance: float | None
    text_survival: float | None
    word_survival: float | None
    right_letters: float | None
    right_words: float | None
    used_bits: float | None
    entropy: float | None
    codes_seen: int | None
    enough_codes: bool | None
    sections: dict[str, Section] | None
    mse: float
    psnr: float
    exact: float
    lossless: float
    sharpness: float | None
    kid: float | None
    kid_paired: float | None
    seconds: float
    milliseconds: float
    padded: int
    tiled: int
    over_budget: int
    scale: float | None
    quantiles: dict[str, Quantiles]


@dataclass(frozen=True)
class TextBaseline:
    """How well text is read before any codec. readable: originals on which text is read. read_twice,
    same_twice: pictures read twice, and those of them that gave the same text. known: pictures whose text is
    known."""

    readable: int
    read_twice: int
    same_twice: int
    known: int
    right_letters: float | None
    right_words: float | None


@dataclass(frozen=True)
class Correlation:
    """Rank correlation of nominal bits and text survival over tokenizers."""

    tokenizers: int
    correlation: float


@dataclass(frozen=True)
class Comparison:
    """A comparison of codecs. features: name of the feature network. engine: that of OCR. out, report:
    paths of files and page. notes: which pictures these are, in sentences. missing: number of pictures that
    were not reached before a signal came."""

    skipped: list[Skipped]
    rows: list[Row]
    text: TextBaseline | None
    spearman: Correlation | None
    findings: list[str]
    each: list[PictureResult]
    mean_colour: MeanColour
    features: str | None = None
    engine: str | None = None
    out: str | None = None
    report: str | None = None
    notes: tuple[str, ...] = ()
    missing: int = 0


def number(value: float) -> float | None:
    """The value, or None where it is not finite, as JSON requires."""
    return value if math.isfinite(value) else None


def as_json(result: Comparison, each: bool = True) -> dict:
    """Contents of results.json, with `each` picture; or, without, the object of `--json`."""
    features = result.features is not None
    pictures = [_picture(one, features) for one in result.each] if each else []
    return {
        "pictures": len(result.each),
        "missing": result.missing,
        "notes": list(result.notes),
        "skipped": [asdict(one) for one in result.skipped],
        "rows": [_row(row, features) for row in result.rows],
        "mean_colour": {"psnr": number(result.mean_colour.psnr), "ssim": result.mean_colour.ssim},
        "text": result.text and asdict(result.text),
        "spearman": result.spearman and asdict(result.spearman),
        "findings": result.findings,
        **({"each": pictures} if each else {}),
        "engine": result.engine,
        "features": result.features,
        "out": result.out,
        "report": result.report,
    }


def _values(one: Measures | Row) -> dict:
    """Fields of a dataclass, with finite numbers or None."""
    values = {each.name: getattr(one, each.name) for each in fields(one)}
    return {name: number(value) if isinstance(value, float) else value for name, value in values.items()}


def _row(row: Row, features: bool) -> dict:
    """A row without the keys of codes where a codec has none, and of features where none were computed."""
    absent = {"entropy", "codes_seen", "enough_codes"} if row.entropy is None else set()
    absent |= set() if features else {"kid", "kid_paired"}
    absent |= set() if row.sections else {"sections"}
    values = {name: value for name, value in _values(row).items() if name not in absent}
    spread = {
        name: {share: number(value) for share, value in asdict(quantiles).items()}
        for name, quantiles in row.quantiles.items()
    }
    sections = {name: asdict(one) for name, one in (row.sections or {}).items()}
    return {**values, **({"sections": sections} if sections else {}), "quantiles": spread}


def _picture(result: PictureResult, features: bool) -> dict:
    head = {name: getattr(result, name) for name in ("number", "name", "file", "height", "width")}
    written = {} if result.written is None else {"written": result.written}
    text = {} if result.text is None else {"text": result.text}
    clean = {"clean": asdict(result.clean)} if result.clean else {}
    codecs = {word: _measures(measures, features) for word, measures in result.codecs.items()}
    return {**head, **written, "codecs": codecs, **text, **clean}


def _measures(one: Measures, features: bool) -> dict:
    """Measures of a picture, without the keys that do not apply to it."""
    absent = {
        "feature_distance": not features,
        "padded": one.padded is None,
        "tiles": one.tiles == 1,
        "over_budget": not one.over_budget,
        "text": one.text is None,
        "text_survival": one.text_survival is None,
        "word_survival": one.text_survival is None,
        "right_letters": one.right_letters is None,
        "right_words": one.right_letters is None,
        "used_bits": one.used_bits is None,
        "scale": one.scale is None,
    }
    return {name: value for name, value in _values(one).items() if not absent.get(name)}
