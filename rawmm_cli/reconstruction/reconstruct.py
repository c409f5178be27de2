"""Round trips of pictures through codecs, and what each codec loses.

    pictures.find -> Location                           pictures on the command line
    pictures.read, batches -> (n, 3, H, W) uint8        batches of pictures of one size
    choices.Choice.go -> Trip                           encoded and decoded, with bits and codes
    measure -> Before, After of each picture            pixels, edges, features
    ocr.Reader -> text before and after                 what can still be read
    kept.Kept                                           what earlier commands have measured already
    summary.rows, findings.findings                     over all pictures, and in sentences

Batches go through all codecs in threads, on a CPU one for each core, each with one thread of torch: threads
that wait for each other are slow where other processes are at work. Several published tokenizers have a pass
through the pictures each, so that one at a time is in memory. Measurements are kept, and files with
--out. Next: `pages/reconstruct.py`, which shows the files side by side."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from ..data import pictures
from ..data.pictures import Location, NamedPicture, Skipped
from ..metrics.mobilenet import MobileNetV2
from . import measure, summary
from .choices import Choice
from .files import Files, file_names
from .findings import findings
from .kept import ORIGINAL, Kept
from .measure import After, Before
from .results import Comparison, PictureResult
from .texts import ReadTexts, Texts, with_text

MOST = 8  # threads, as each needs memory


@dataclass(frozen=True)
class Plan:
    """How to reconstruct. out: folder for files. reader: reads text. network: gives features. size: longer
    side of the pictures at most. kept: what is measured already. progress: called with the number of pictures
    done. stop: whether to end after the round trips that are under way."""

    out: Path | None = None
    reader: ReadTexts | None = None
    network: MobileNetV2 | None = None
    size: int | None = None
    kept: Kept | None = None
    progress: Callable[[int], None] = lambda done: None
    stop: Callable[[], bool] = lambda: False


@dataclass
class Measured:
    """What is known of one picture. digest: of the picture, None where nothing is kept."""

    location: Location
    digest: str | None
    before: Before | None = None
    after: dict[str, After] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """A batch after the codecs that it had not been through. backs: the reconstructions, by codec."""

    group: list[NamedPicture]
    before: list[Before]
    after: dict[str, list[After]]
    backs: dict[str, Tensor]


def digests(locations: list[Location]) -> list[str | None]:
    """Hash of each picture; None where it cannot be read."""

    def one(location: Location) -> str | None:
        with suppress(OSError):
            return pictures.digest(location)

    return [one(location) for location in locations]


def complete(each: list[Measured], chosen: list[Choice]) -> bool:
    """Whether all pictures were through all codecs before, so that no codec needs to be loaded."""
    rest = [one.location for one in each if not one.before or len(one.after) < len(chosen)]
    return len(rest) < len(each) and next(pictures.read(rest, []), None) is None  # others cannot be read


def run(
    locations: list[Location], chosen: list[Choice], plan: Plan, each: list[Measured] | None = None
) -> Comparison:
    """Send pictures through all codecs, and measure. each: what is `recalled` of the pictures. Raises
    DataError where no picture can be read, or a codec does not take one."""
    kept = plan.kept or Kept(None, {choice.word: "" for choice in chosen}, {})
    each = each or recalled(locations, chosen, [None] * len(locations), kept)
    skipped: list[Skipped] = []
    try:
        _measure_rest(each, chosen, plan, kept, skipped)
    finally:
        kept.close()
    done = [one for one in each if one.before and len(one.after) == len(chosen)]
    if not done and not plan.stop():
        raise pictures.none_left(skipped)
    result = _compared(each, done, chosen, plan, skipped)
    return replace(result, missing=len(each) - len(done) - len(skipped))


def recalled(
    locations: list[Location], chosen: list[Choice], hashes: list[str | None], kept: Kept
) -> list[Measured]:
    """What was kept of each picture. hashes: their `digests`."""
    names = file_names([choice.word for choice in chosen])
    each = []
    for location, digest in zip(locations, hashes):
        one = Measured(location, digest)
        one.before = kept.before(digest, f"original/{location.name}.png")
        for choice in chosen if one.before else ():
            after = kept.after(digest, choice.word, names(choice.word, location.name))
            if after:
                one.after[choice.word] = after
        each.append(one)
    return each


def passes(chosen: list[Choice]) -> list[list[Choice]]:
    """Codecs that go through the pictures together: each that is let go after alone, then all others."""
    others = [choice for choice in chosen if not choice.release]
    return [*([choice] for choice in chosen if choice.release), *([others] if others else [])]


def _measure_rest(
    each: list[Measured], chosen: list[Choice], plan: Plan, kept: Kept, skipped: list[Skipped]
) -> None:
    """Send pictures through the codecs that they have not been through."""
    texts, words = Texts(plan.reader) if plan.reader else None, [choice.word for choice in chosen]
    files, names = Files(plan.out, words) if plan.out else None, file_names(words)
    parts = passes(chosen)
    for number, part in enumerate(parts):

        def work(group: list[NamedPicture], part: list[Choice] = part) -> Done:
            done = _through(group, [each[one.index] for one in group], part, plan)
            if files:
                files.write(group, done.backs)
            return done

        todo = _todo(each, part)
        finished = len(each) - len(todo)
        plan.progress((number * len(each) + finished) // len(parts))
        bad: list[Skipped] = []
        for done in _in_threads(work, pictures.batches(_pictures(each, todo, plan, bad)), plan.stop):
            done = _read(done, texts) if texts else done
            _note(done, each, kept, names)
            finished += len(done.group)
            plan.progress((number * len(each) + finished) // len(parts))
        skipped += [one for one in bad if one not in skipped]  # each pass reads them again
        for choice in chosen:
            if choice.release:
                choice.release()
        if plan.stop():
            return


def _todo(each: list[Measured], part: list[Choice]) -> list[int]:
    """Numbers of the pictures that have not been through all of these codecs."""
    return [
        n
        for n, one in enumerate(each)
        if not one.before or any(choice.word not in one.after for choice in part)
    ]


def _pictures(
    each: list[Measured], numbers: list[int], plan: Plan, skipped: list[Skipped]
) -> Iterator[NamedPicture]:
    """The pictures of these numbers, read."""
    for one in pictures.read([each[n].location for n in numbers], skipped):
        one = replace(one, index=numbers[one.index])
        yield pictures.shrunk(one, plan.size) if plan.size else one


def _read(done: Done, texts: Texts) -> Done:
    """The batch with the texts of its pictures."""
    images, written = torch.stack([one.pixels for one in done.group]), [one.text for one in done.group]
    known = all(one.text is not None for one in done.before)  # by an earlier pass, or command
    before = done.before if known else texts.before(images, done.before)
    return replace(done, before=before, after=texts.after(done.backs, done.after, before, written))


def _note(done: Done, each: list[Measured], kept: Kept, names: Callable[[str, str], list[str]]) -> None:
    """Add a batch to what is known of its pictures, and keep it."""
    for n, picture in enumerate(done.group):
        one = each[picture.index]
        one.before = done.before[n]
        kept.put(one.digest, ORIGINAL, one.before, [f"original/{picture.name}.png"])
        for word, after in done.after.items():
            one.after[word] = after[n]
            kept.put(one.digest, word, after[n], names(word, picture.name))
    kept.commit()


def _through(group: list[NamedPicture], known: list[Measured], chosen: list[Choice], plan: Plan) -> Done:
    """Send a batch through the codecs that one of its pictures has not been through, unless it is time to
    stop."""
    batch = measure.originals(torch.stack([picture.pixels for picture in group]), plan.network)
    before = [one.before for one in known] if all(one.before for one in known) else measure.before(batch)
    done = Done(group, before, {}, {})
    for choice in chosen:
        if plan.stop():
            break
        if any(choice.word not in one.after for one in known):
            done.after[choice.word], done.backs[choice.word] = measure.after(choice, batch, plan.network)
    return done


def _in_threads(
    work: Callable[[list[NamedPicture]], Done], groups: Iterator[list[NamedPicture]], stop: Callable[[], bool]
) -> Iterator[Done]:
    """Batches that are done, in order. Only a few more are read than are at work."""
    with _threads() as (pool, count):
        pending: deque[Future[Done]] = deque(pool.submit(work, group) for group in islice(groups, count + 1))
        while pending:
            yield pending.popleft().result()
            if stop():
                pool.shutdown(wait=False, cancel_futures=True)
                pending = deque(one for one in pending if not one.cancelled())
            else:
                pending.extend(pool.submit(work, group) for group in islice(groups, 1))


@contextmanager
def _threads() -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """A pool of threads that share those of torch among them, and their number."""
    before = torch.get_num_threads()
    count = min(MOST, before)
    torch.set_num_threads(before // count)
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(before // count,))
    try:
        yield pool, count
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        torch.set_num_threads(before)


def _compared(
    each: list[Measured], done: list[Measured], chosen: list[Choice], plan: Plan, skipped: list[Skipped]
) -> Comparison:
    """The comparison over all pictures that are done."""
    chosen = [
        replace(choice, vocabulary=done[0].after[choice.word].vocabulary) if done else choice
        for choice in chosen
    ]
    after = {choice.word: [one.after[choice.word] for one in done] for choice in chosen}
    after = {choice.word: summary.with_used_bits(choice, after[choice.word]) for choice in chosen}
    before, place = [one.before for one in done], {id(one): n for n, one in enumerate(each)}
    results = [
        with_text(
            PictureResult(
                number=place[id(one)],
                name=one.location.name,
                file=one.location.file,
                height=one.before.height,
                width=one.before.width,
                written=pictures.written(one.location),
                codecs={word: group[n].measures for word, group in after.items()},
            ),
            one.before.text,
        )
        for n, one in enumerate(done)
    ]
    rows = summary.rows(results, chosen, after, before) if done else []
    text = summary.baseline(results, before) if plan.reader and done else None
    correlation, colour = summary.correlation(rows), summary.mean_colour(before) if done else None
    sentences = findings(rows, chosen, text, correlation, colour, len(done)) if done else []
    network = plan.network and plan.network.name
    return Comparison(skipped, rows, text, correlation, sentences, results, colour, network)
