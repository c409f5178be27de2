"""Tables and progress: cells are shown in full and without markup; in a file a row is one line."""

import pytest

from rawmm_cli.commands import screen, tables


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def lines(capsys) -> list[str]:
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_numbers_are_right_aligned_and_words_left_aligned(capsys):
    rows = [["a", "1", "x"], ["long name", "1,000", "y"]]
    tables.write(["codec", "bits", "kind"], rows, numbers=[1])
    assert lines(capsys) == ["codec       bits  kind", "a              1  x", "long name  1,000  y"]


def test_without_headings_there_is_no_line_for_them(capsys):
    tables.write(["", ""], [["a", "b"]], title="facts")
    assert lines(capsys) == ["facts", "a  b"]


def test_cells_are_no_markup_and_no_control_characters(capsys):
    tables.write(["codec", ""], [["[bold]a[/bold]", "\x1b[31mred\n"], ["[/]", "b"]])
    assert lines(capsys)[1:] == ["[bold]a[/bold]  \ufffd[31mred\ufffd", "[/]             b"]


def test_in_a_file_a_row_is_a_line(capsys):
    tables.write(["a", "b"], [["x" * 300, "y " * 150]])
    assert lines(capsys)[1] == "x" * 300 + "  " + ("y " * 150).strip()


def test_on_a_narrow_terminal_long_cells_are_folded(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "24")
    tables.write(["name", "path"], [["a", "/" + "0123456789" * 4]])
    printed = lines(capsys)
    assert max(map(len, printed)) <= 24
    assert "".join(line[6:] for line in printed[1:]) == "/" + "0123456789" * 4


def test_a_missing_number_is_a_dash():
    assert tables.number(None, "{:.2f}".format) == "–" and tables.number(0.5, "{:.2f}".format) == "0.50"


def test_progress_is_printed_at_intervals(capsys):
    report = screen.progress(3, "codes", every=0)
    for done in range(4):
        report(done)
    assert capsys.readouterr().err.splitlines() == ["1 of 3 codes", "2 of 3 codes"]
    report = screen.progress(3, every=60)
    report(1)
    assert capsys.readouterr().err == ""


def test_without_a_terminal_the_bar_prints_lines(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: now[0])
    with screen.Bar("preparing", 100) as bar:
        for now[0], done, skipped in ((1.0, 10, 0), (16.0, 42, 0), (17.0, 50, 1), (32.0, 90, 2)):
            bar(done, skipped)
    assert capsys.readouterr().err.splitlines() == [
        "42 of 100 items, 2/s",
        "90 of 100 items, 2/s, 2 left out",
    ]
