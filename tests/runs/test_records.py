"""records.jsonl: lines in, lines out, whatever a killed process left at the end."""

import json

import pytest

from rawmm_cli.runs import records

LINES = [{"documents": 16 * n, "loss": n / 3} for n in range(1, 6)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "records.jsonl"
    for line in LINES:
        records.append(path, line)
    return path


def test_what_was_appended_is_read(path):
    assert records.read(path) == LINES
    assert len(path.read_text().splitlines()) == 5 and path.read_text().endswith("\n")


def test_no_file_is_no_record(tmp_path):
    assert records.read(tmp_path / "none") == []
    records.truncate(tmp_path / "none", 5)
    assert not (tmp_path / "none").exists()


def test_a_torn_last_line_is_left_out_wherever_it_is_torn(path):
    whole = path.read_bytes()
    last = len(json.dumps(LINES[-1]))
    for cut in range(2, last + 1):  # from "all but the closing brace" to "one character"
        path.write_bytes(whole[:-cut])
        assert records.read(path) == LINES[:-1], cut
    path.write_bytes(whole[:-1])
    assert records.read(path) == LINES  # only the line end is missing


@pytest.mark.parametrize("rest", [b"\xff\xfe", b"\0" * 100, b"{", b'{"documents": 96, "lo'])
def test_a_run_goes_on_after_a_torn_line(path, rest):
    with open(path, "ab") as file:
        file.write(rest)
    assert records.read(path) == LINES
    records.truncate(path, 80)
    records.append(path, {"documents": 96})
    assert records.read(path) == [*LINES, {"documents": 96}]


@pytest.mark.parametrize("documents, count", [(0, 0), (15, 0), (16, 1), (47, 2), (80, 5), (1000, 5)])
def test_truncate(path, documents, count):
    records.truncate(path, documents)
    assert records.read(path) == LINES[:count]
    assert [file.name for file in path.parent.iterdir()] == ["records.jsonl"]


def test_lines_of_others_are_left_out(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text('{"documents": 1}\n{"a": 1}\n5\n{"documents": 2}\n')
    assert records.read(path) == [{"documents": 1}, {"documents": 2}]


@pytest.mark.parametrize(
    "middle",
    [b"\0" * 300, b'{"documents": 48, "lo', b"[" * 100_000, b"\xff\xfe", b'{"documents": ' + b"9" * 5000],
)
def test_a_damaged_line_in_the_middle_costs_itself_alone(path, middle):
    """What a crash of the machine leaves is not always at the end; a resumed run keeps what came after it."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + middle + b"\n" + b"".join(lines[2:]))
    assert records.read(path) == LINES
    records.truncate(path, 64)
    assert records.read(path) == LINES[:4] and len(path.read_text().splitlines()) == 4
