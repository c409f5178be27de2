"""Prompts to offer a person, from the captions that a model has learned: beginnings that many have in common,
and captions that say different things."""

from collections import Counter
from collections.abc import Sequence

MOST = 12  # different captions that are all offered
LONGEST = 90  # characters of a prompt
OPENINGS, VARIED = 3, 6  # beginnings, and varied captions, where there are many
SHARE = 0.08  # of the captions have a beginning in common, at least
CANDIDATES = 600


def offered(texts: Sequence[str]) -> list[str]:
    """All different captions where there are few; else common beginnings and varied captions."""
    few = examples(texts)
    return few if len(few) > VARIED else list(dict.fromkeys([*openings(texts), *few]))


def examples(texts: Sequence[str]) -> list[str]:
    """All different captions where there are few; else varied ones."""
    different = list(dict.fromkeys(texts))
    return [shortened(text) for text in different] if len(different) <= MOST else varied(different, VARIED)


def openings(texts: Sequence[str]) -> list[str]:
    """The most frequent beginnings of two words or more that SHARE of the texts have in common and continue
    in different ways, none of which begins like another."""
    counts, after = Counter(), Counter()
    for text in texts:
        words = text.split()
        counts.update(" ".join(words[:n]) for n in range(1, min(len(words), 8) + 1))
    for text, count in counts.items():
        begin = text.rpartition(" ")[0]
        after[begin] = max(after[begin], count)
    forks = [
        (-count, begin)
        for begin, count in counts.items()
        if count >= SHARE * len(texts) and " " in begin and 0 < after[begin] < 0.9 * count
    ]
    chosen: list[str] = []
    for _, begin in sorted(forks):
        if not any(begin.startswith(other) for other in chosen) and len(begin) <= LONGEST:
            chosen.append(begin.rstrip(",;:"))
    return sorted(dict.fromkeys(chosen[:OPENINGS]), key=lambda begin: (-len(begin), begin))


def varied(texts: Sequence[str], count: int) -> list[str]:
    """Captions of all lengths, each with as many words as possible that those before it do not have; short
    ones first. Long ones are cut only where there are too few others."""
    different = sorted({" ".join(text.split()) for text in texts}, key=lambda text: (len(text), text))
    short = [text for text in different if len(text) <= LONGEST]
    if len(short) < count:
        short = list(dict.fromkeys(map(shortened, different)))
    chosen, words = [], set()
    for part in range(count):
        group = short[part * len(short) // count : (part + 1) * len(short) // count]
        candidates = group[:: max(1, len(group) // (CANDIDATES // count))]
        if candidates:
            chosen.append(
                max(candidates, key=lambda text: (len(set(text.split()) - words), -len(text), text))
            )
            words |= set(chosen[-1].split())
    return chosen


def shortened(text: str) -> str:
    """A text in one line of LONGEST characters, cut at a word."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST + 1].rpartition(" ")[0] or text[:LONGEST]
