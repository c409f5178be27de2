"""The splits that a source brings along, told by names of folders or files as `datasets` tells them.

A folder is of a split where its name has one of KEYWORDS in it as a whole word, in any letter case: train,
Train2017, coco-val. Where that tells none, names in camel case do that differ in nothing but that word:
trainA and testA, TrainImages and ValImages, but not TrainStation and TestTube. Names of files count only for
tables and archives (train-00000-of-00002.parquet), where no folder tells: a picture named "train station.jpg"
is a picture like any other. Unlike `datasets`, which drops what is beside the splits, nothing is left out: it
is trained on.

Where folders and files tell none, a column may (COLUMNS): Karpathy's COCO and Flickr30k have `split` with
train, restval, val and test, Open Images has `Subset`, CelebA numbers in `partition`, CUB 1 for training.

Sources: `datasets.data_files`, SPLIT_KEYWORDS and the patterns below it; Karpathy and Fei-Fei 2015,
arXiv:1412.2306, whose restval is trained on."""

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from pathlib import Path

from ...system.errors import printable

KEYWORDS = {
    "train": ("train", "training", "trainval", "trainset"),
    "validation": ("validation", "valid", "dev", "val", "valset"),
    "test": ("test", "testing", "eval", "evaluation", "testset"),
}
SPLIT_OF = {keyword: split for split, keywords in KEYWORDS.items() for keyword in keywords}
SEPARATOR = "[-._ 0-9=]"  # = as in split=test, a partition of Hive
WORD = re.compile(rf"(?:^|{SEPARATOR})({'|'.join(SPLIT_OF)})(?={SEPARATOR}|$)")
HUMP = re.compile("(?<=[a-z0-9])(?=[A-Z])")  # where a word begins in camel case
COLUMNS = ("split", "subset", "partition", "eval_partition")  # in any letter case
PARTITIONS = {"0": "train", "1": "validation", "2": "test"}  # numbers of the latter two, of CelebA
# Truth values, or 1 and 0, as of CUB.
IS_TRAIN = ("is_train", "is_training", "is_training_image", "is_training_img")
IS_TEST = ("is_test", "is_testing", "is_val", "is_validation", "is_eval")
MOST = 100  # different texts: a column that has more tells no splits
SHARD = re.compile(r"(\w+(?:\.\w+)*)-\d{5}-of-\d{5}.*\..*")  # as `datasets` writes them: SPLIT-00000-of-00001


def split_of(name: str) -> str | None:
    """The split that a name of a folder, file or split tells: "train", "validation" or "test"."""
    word = WORD.search(name.lower())
    return SPLIT_OF[word[1]] if word else None


def splits_of(names: Sequence[str], files: bool = False) -> list[str | None]:
    """The split that each path tells, None for paths that tell none.

    All are None where the source has no splits of its own: those that are trained on and others must both be
    there. names: relative to the source, with slashes. files: names of files count too."""
    known: dict[str, str | None] = {}  # folder -> split
    for folder in map(posixpath.dirname, names):
        if folder not in known:
            known[folder] = next(filter(None, map(split_of, folder.split("/"))), None)
    splits = [known[posixpath.dirname(name)] for name in names]
    if files and not any(splits):
        bases = [posixpath.basename(name) for name in names]
        shards = [SHARD.fullmatch(base) for base in bases]
        if all(shards):
            splits = [shard[1] for shard in shards if shard]
        else:
            stems = [posixpath.splitext(base)[0] for base in bases]
            splits = list(map(split_of, stems))
            splits = splits if any(splits) else _in_camel_case(stems)
    elif "train" not in splits:
        beside = {folder: _beside_pictures(folder, known) for folder in known}
        splits = [beside[posixpath.dirname(name)] for name in names]
    if not any(roles(splits).values()):
        known = dict(zip(known, _in_camel_case(list(known))))
        splits = [known[posixpath.dirname(name)] for name in names]
    return splits if any(roles(splits).values()) else [None] * len(splits)


def _in_camel_case(names: Sequence[str]) -> list[str | None]:
    """The split that each path tells by a word in camel case; None where no other path says train for test,
    or test for train, and is else the same up to there."""
    ends: list[tuple[str, str] | None] = []  # (the name to the end of that part, without its word; split)
    splits = defaultdict(set)
    for name in names:
        parts = HUMP.sub("-", name).lower().split("/")
        words = list(map(WORD.search, parts))
        first = next((n for n, word in enumerate(words) if word), None)
        ends.append(None)
        if first is not None:
            keyword = words[first][1]
            rest = "/".join([*parts[:first], parts[first].replace(keyword, "*", 1)])
            ends[-1] = rest, SPLIT_OF[keyword]
            splits[rest].add(SPLIT_OF[keyword])
    both = {rest for rest, kinds in splits.items() if "train" in kinds and len(kinds) > 1}
    return [own[1] if own and own[0] in both else None for own in ends]


def trained_first(
    names: Sequence[str], files: bool = False, splits: Sequence[str | None] | None = None
) -> list[int]:
    """Indices of the paths in the order of their names, those that are trained on first where the source has
    splits: what --limit takes is not all held out. splits: where the names do not tell them."""
    splits = splits or splits_of(names, files)
    used_as = roles(splits)
    return sorted(range(len(names)), key=lambda n: (used_as[splits[n]] == "held_out", names[n]))


def named(files: Sequence[Path], root: Path) -> tuple[list[Path], list[str]]:
    """Files and their names relative to the root, in the order of `trained_first`."""
    names = [file.relative_to(root).as_posix() for file in files]
    order = trained_first(names, files=True)
    return [files[n] for n in order], [names[n] for n in order]


def _beside_pictures(folder: str, folders: Container[str]) -> str | None:
    """The split of a folder named exactly "test" or the like where what is trained on lies beside it, and not
    in another folder: folders control/ and test/ are two classes."""
    parts = folder.lower().split("/")
    depth = next((n for n, part in enumerate(parts) if part in SPLIT_OF), None)
    if depth is None or "/".join(folder.split("/")[:depth]) not in folders:
        return None
    return SPLIT_OF[parts[depth]]


def roles(splits: Iterable[str | None]) -> dict[str | None, str | None]:
    """{split: "train" or "held_out"}; all None where names of the items have to decide.

    Where one of them is for training, all others that have a name are held out; else those for validation or
    test are."""
    names = set(splits)
    tells = {name: split_of(name) if name else None for name in names}
    if "train" in tells.values():
        chosen = {name: "held_out" if name and tells[name] != "train" else "train" for name in names}
    else:
        chosen = {name: "held_out" if tells[name] else "train" for name in names}
    return chosen if len(set(chosen.values())) == 2 else dict.fromkeys(names)


def split_columns(columns: Iterable[str], used: Collection[str | None]) -> list[str]:
    """Columns that may tell splits, in the order of their names above. used: those with another role."""
    free = [column for column in columns if column not in used]
    names = (*COLUMNS, *IS_TRAIN, *IS_TEST)
    return [column for name in names for column in free if column.lower() == name]


def split_text(value: object) -> str | None:
    """What a column that may tell splits has in a row: a text; a whole number or truth value as one."""
    if isinstance(value, (bool, int)):
        return str(value).lower()
    return value if isinstance(value, str) else None


def roles_in_column(column: str, texts: Collection[str | None]) -> dict[str | None, str]:
    """{text: "train" or "held_out"} of the different texts in a column; {} where they are no splits.

    Validation and test are held out; all others are trained on, restval and rows without a text too. In all
    columns but `split`, all texts must be splits: `subset` may also say where a picture is from. What a
    number means is known for few columns."""
    name = column.lower()
    if len(texts) > MOST:
        return {}
    tells = {text: split_of(text.strip()) if text else None for text in texts}
    plain = {text: text.strip().lower() for text in texts if text}
    if name in (*IS_TRAIN, *IS_TEST):
        yes, no = ("train", "test") if name in IS_TRAIN else ("test", "train")
        tells |= {
            text: {"1": yes, "true": yes, "0": no, "false": no}.get(word) for text, word in plain.items()
        }
    elif name not in COLUMNS[:2] and PARTITIONS.keys() >= set(plain.values()):
        tells |= {text: PARTITIONS[word] for text, word in plain.items()}
    unknown = {text for text, split in tells.items() if split is None}
    if name != "split" and unknown - ({None} if name != "subset" else set()):
        return {}
    held_out = {text: split in ("validation", "test") for text, split in tells.items()}
    if len(set(held_out.values())) < 2:
        return {}
    return {text: "held_out" if held else "train" for text, held in held_out.items()}


def described_column(counts: Mapping[str | None, int], chosen: Mapping[str | None, str]) -> str:
    """As `described`, of the texts in a column and their roles."""
    merged, used_as = Counter(), {}
    for text, count in counts.items():
        name = printable((text or "").strip())[:60] or None
        merged[name] += count
        used_as[name] = chosen[text]
    return described(merged, used_as)


def described(counts: Counter[str | None], chosen: Mapping[str | None, str | None] | None = None) -> str:
    """The splits in words, with the number of items or files in each, for the card; "" where there are none.
    chosen: their roles, where names alone do not tell them.

    train 800 (trained on), others 3 (trained on), test 200 (held out)"""
    chosen = roles(counts) if chosen is None else chosen
    ordered = sorted(counts, key=lambda name: (chosen[name] != "train", name is None, name or ""))
    use = {"train": "trained on", "held_out": "held out"}
    parts = [
        f"{name or 'others'} {counts[name]:,} ({use[role]})" for name in ordered if (role := chosen[name])
    ]
    return ", ".join(parts)
