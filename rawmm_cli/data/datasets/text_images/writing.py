"""What is written on a picture: real words in lines, or words of random letters, one a line."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from ....system.errors import ConfigError
from . import fonts

Option = TypeVar("Option")
LINES, MARGIN = 4, 3  # lines of real words at most; pixels left free at the edges
GROUNDS, WHITE = ("plain", "photograph"), "white"  # behind the letters; white: always, with black letters
PLACES = ("anywhere", "corner")
WORDS = tuple(
    """
a able about above across act add after again age ago air all alone along also always am among an and animal
answer any apple are area arm art as ask at away baby back bad bag ball bank base be bear beautiful become
bed before begin behind bell below best better between big bird birth black blue board boat body bone book
both bottom box boy bread break bridge bright bring brother brown build burn busy but buy by cake call came
camera can car card care carry case cat cause center century chair chance change chief child choose circle
city class clean clear climb clock close cloth cloud coat coffee cold color come common cook cool copper
corn corner cost cotton could count country course cover cross crowd cup current cut dance dark day dead
deal decide deep degree describe design dinner direct do doctor dog dollar door double down draw dream dress
drink drive dry during each early earth east easy eat edge egg eight electric empty end engine enough
evening every example eye face fact fall family far farm fast father favor feel feet fell few field fight
figure fill final find fine finger fire first fish five flat floor flower fly follow food foot for force
forest form forward four free fresh friend from front fruit full game garden gave general gentle get girl
give glass go goat gold good grand grass gray great green ground group grow guess guide had hair half hand
happy hard hat have he head hear heart heat heavy help her here high hill his history hold home honey hope
horse hot hour house how hundred hunt hurry ice idea if in inch iron is island it job join joy jump just
keep key kind king kitchen know lady lake lamp land language large last late laugh law lay lead learn least
leave left leg less letter level lie life lift light like line lion list listen little live long look lost
loud love low lucky machine made main make man many map mark market matter may me mean measure meat meet
method middle mile milk million mind minute mirror modern moment money month moon more morning most mother
motion mountain mouth move much music must my name nation nature near neck need never new next night nine no
noise north nose note nothing notice now number ocean of off office often oil old on once one only open or
orange order other our out over own page paint pair paper parent part party pass past path pay peace pencil
people perhaps person phrase picture piece place plain plan plane planet plant play please plural poem point
pole poor port position possible pound power press pretty print problem product proper pull pure push put
quality quart queen question quick quiet quite race radio rain raise ran reach read ready real reason record
red region repeat rest result rice rich ride right ring rise river road rock roll room root rope rose round
row rule run safe sail salt same sand save say scale school science sea season seat second see seed seem
self sell send sentence serve set settle seven several shape share sharp she ship shoe shop short should
shoulder show side sign silent silver simple since sing sister sit six size skill skin sky sleep slow small
smell smile snow so soft soil soldier solve some son song soon sound south space speak special speed spell
spend spoke spot spring square stand star start state station stay steam steel step stick still stone stop
store story strange stream street strong student study subject such sudden sugar suit summer sun supply sure
surface sweet swim table tail take talk tall taste teach team tell ten test than that the their them then
there these they thick thin thing think third this those though thought thousand three through throw tie
time tiny to together told tomorrow tone too tool tooth top total touch toward town track trade train travel
tree triangle trip truck true try tube turn twelve twenty two type under unit until up us use usual valley
value very view village visit voice wait walk wall want war warm was wash watch water wave way we wear
weather week weight well went were west what wheel when where which while white who whole why wide wife wild
will win wind window wing winter wire wish with woman wonder wood word work world would write wrong yard
year yellow yes yet you young your zebra zero zone
""".split()
)


@dataclass(frozen=True)
class Writing:
    """How pictures are written on.

    fonts: paths. least, most: pixels of an em. size: side of a picture in pixels. letters: fewest and most
    letters of a random word, or None for real words. alphabet: those letters. words: random words of a
    picture, or None for 1 to as many as fit. grounds: what may stand behind the letters. place: where the
    text begins, anywhere it fits or in the top left corner."""

    fonts: tuple[str, ...]
    least: int
    most: int
    size: int
    letters: tuple[int, int] | None = None
    alphabet: str = ""
    words: int | None = None
    grounds: tuple[str, ...] = GROUNDS
    place: str = PLACES[0]

    @property
    def room(self) -> int:
        """Pixels between the margins."""
        return self.size - 2 * MARGIN

    def lines(self, path: str, glyph: int) -> int:
        """Lines that fit, at least 1."""
        return max(1, self.room // fonts.height(path, glyph))

    def check(self) -> None:
        """Raise ConfigError where random words do not fit in the largest letters of every font."""
        if not self.letters:
            return
        for path in self.fonts:
            widest = max(map(fonts.sized(path, self.most).getlength, self.alphabet))
            here = f"in {fonts.family(path)} of {self.most} pixels into a picture of {self.size}"
            if self.letters[1] * widest > self.room:
                raise ConfigError(
                    f"--letters {self.letters[1]} do not fit {here}; allowed: at most "
                    f"{int(self.room // widest)}, a smaller --glyph or a larger --size"
                )
            if (self.words or 1) > (lines := self.lines(path, self.most)):
                raise ConfigError(
                    f"--words {self.words} do not fit {here}, one a line; allowed: at most {lines}, a "
                    "smaller --glyph or a larger --size"
                )


def written(n: int, writing: Writing) -> tuple[list[str], dict[str, str]]:
    """Text on picture n, line by line, and its attributes: font, glyph (pixels an em), ground (plain or
    photograph).

    The size of letters is chosen by n; for real words it is then reduced until one fits."""
    path, glyph = pick(n, "font", writing.fonts), pick(n, "glyph", range(writing.least, writing.most + 1))
    if writing.letters:
        lines = _random(n, path, glyph, writing)
    else:
        while not (first := _line(n, 0, path, glyph, writing)) and glyph > writing.least:
            glyph -= 1
        count = pick(n, "lines", range(1, min(LINES, writing.lines(path, glyph)) + 1))
        lines = [first or "a"] + [_line(n, row, path, glyph, writing) for row in range(1, count)]
    name = " ".join(fonts.sized(path, glyph).getname()[:2])
    return lines, {"font": name, "glyph": str(glyph), "ground": pick(n, "ground", writing.grounds)}


def _random(n: int, path: str, glyph: int, writing: Writing) -> list[str]:
    """Words of random letters, one a line."""
    least, most = writing.letters or (1, 1)
    count = writing.words or pick(n, "lines", range(1, writing.lines(path, glyph) + 1))
    return [
        "".join(
            pick(n, f"letter {row} {place}", writing.alphabet)
            for place in range(pick(n, f"letters {row}", range(least, most + 1)))
        )
        for row in range(count)
    ]


def _line(n: int, row: int, path: str, glyph: int, writing: Writing) -> str:
    """One to three words, as many as fit; "" where none does."""
    font, line = fonts.sized(path, glyph), ""
    for place in range(pick(n, f"words of {row}", (1, 2, 3))):
        for attempt in range(12):
            word = pick(n, f"word {row} {place} {attempt}", WORDS)
            word = (
                word.capitalize() if pick(n, f"capital {row} {place}", (False, False, False, True)) else word
            )
            if font.getlength(longer := f"{line} {word}".strip()) <= writing.room and (
                line or len(word) > 2 or attempt > 8
            ):
                line = longer
                break
    return line


def pick(n: int, what: str, options: Sequence[Option]) -> Option:
    """One of the options, by a hash of n and of `what`, the name of the choice."""
    digest = hashlib.blake2b(f"text-images/{n}/{what}".encode(), digest_size=8).digest()
    return options[int.from_bytes(digest, "little") % len(options)]
