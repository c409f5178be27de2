"""Text survival: what was read on a picture against what was read on its reference, or against what is
written there.

White space counts as one blank, and a blank at an end as none.

    survival     1 - edit distance / letters of the longer of the two (Levenshtein 1966): 1 is the same, 0
                 shares nothing; its mean is the 1-N.E.D. of ICDAR 2019 and the T-NED of TokBench
                 (arXiv 2505.18142)
    words        share of the reference's words that are there, letter by letter, as often as in the reference
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

LEAST = 3  # letters or digits in a word: fewer may be a speck that was taken for one


def plain(text: str) -> str:
    """The text with single blanks."""
    return " ".join(text.split())


def readable(text: str) -> bool:
    """Whether the text has anything that looks like a word."""
    return re.search(rf"[^\W_]{{{LEAST},}}", text) is not None


def edit_distance(one: str, other: str) -> int:
    """Least number of letters to insert, delete or change that turns one text into the other.

    A column of the table of prefixes is one integer (Myers 1999, in the form of Hyyrö 2003): bit n of `rises`
    and of `falls` says whether its entry n + 1 is one more, or one less, than the entry n."""
    if not one:
        return len(other)
    places: dict[str, int] = {}
    for n, letter in enumerate(one):
        places[letter] = places.get(letter, 0) | 1 << n
    every, last, distance = (1 << len(one)) - 1, 1 << (len(one) - 1), len(one)
    rises, falls = every, 0
    for letter in other:
        same = places.get(letter, 0)
        diagonal = (((same & rises) + rises) ^ rises) | same | falls
        right = falls | ~(diagonal | rises) & every  # entries that are one more than those to the left
        left = diagonal & rises
        distance += bool(right & last) - bool(left & last)
        right = right << 1 | 1
        rises = (left << 1 | ~(diagonal | right)) & every
        falls = right & diagonal & every
    return distance


def survival(text: str, reference: str) -> float:
    """One minus the normalised edit distance, in 0..1; 1 where both are empty."""
    text, reference = plain(text), plain(reference)
    return 1 - edit_distance(text, reference) / max(len(text), len(reference), 1)


def words(text: str, reference: str) -> float:
    """Share of the words of a reference, which must have some, that the text has."""
    wanted = Counter(reference.split())
    return (wanted & Counter(text.split())).total() / wanted.total()


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Rank correlation; equal values share their mean rank; nan where one of the two is constant."""
    a, b = _ranks(one), _ranks(other)
    mean = (len(a) + 1) / 2
    a, b = [rank - mean for rank in a], [rank - mean for rank in b]
    spread = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b)) / spread if spread else math.nan


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) + 1) / 2 for value in values]
