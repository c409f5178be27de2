"""The answer in sentences: what is claimed, what is open, and what was not measured."""

import pytest
from made_up_comparison import comparison

from rawmm_cli.comparison.answer import amounts, answer, leading, sentences
from rawmm_cli.comparison.differences import differences

READ, DRAWN, KID = "image_to_text.accuracy", "text_to_image.accuracy", "fidelity.kid"


def row(metric, system, difference, interval, claimed, budget="time", seeds=3):
    return {
        "metric": metric, "budget": budget, "system": system, "against": "raw", "difference": difference,
        "interval": interval, "p": 0.01, "p_holm": 0.02, "claimed": claimed, "seeds": seeds, "pictures": 200,
    }  # fmt: skip


@pytest.fixture
def results():
    systems = {"raw": {READ: 0.95, DRAWN: 0.9, KID: 0.02}, "fsq-512": {READ: 0.9, DRAWN: 0.9, KID: 0.02}}
    return comparison(systems | {"kl": {READ: 0.9, DRAWN: 0.9, KID: 0.02}})[0]


def test_a_difference_that_is_real_is_said_with_its_interval(results):
    results["differences"] = [
        row(READ, "fsq-512", -0.0312, [-0.0491, -0.0118], True),
        row(READ, "kl", 0.0402, [0.0211, 0.0598], True, "documents"),
    ]
    text = answer(results)
    assert text[0] == "At equal time, raw reads 3.1 points more pictures right than fsq-512 [1.2, 4.9]."
    assert text[1] == "At equal documents, kl reads 4.0 points more pictures right than raw [2.1, 6.0]."


def test_what_is_right_is_said_once(results):
    results["differences"] = [row(READ, "kl", -0.0312, [-0.0491, -0.0118], True)]
    results["metrics"][READ]["title"] = "characters read right"
    assert (
        answer(results)[0] == "At equal time, raw reads 3.1 points more characters right than kl [1.2, 4.9]."
    )


def test_several_systems_stand_in_one_sentence(results):
    results["differences"] = [
        row(KID, "fsq-512", 0.0123, [0.0102, 0.0144], True),
        row(KID, "kl", 0.02, [0.01, 0.03], True),
    ]
    assert answer(results)[0] == (
        "At equal time, raw is ahead of fsq-512 (by 0.0123 [0.0102, 0.0144]) and kl (by 0.020 [0.010, "
        "0.030]) in KID."
    )

    results["differences"] = [
        row(READ, "fsq-512", 0.03, [0.02, 0.04], True),
        row(READ, "kl", 0.05, [0.03, 0.07], True),
    ]
    assert answer(results)[0] == (
        "At equal time, raw reads fewer pictures right than fsq-512 (by 3.0 points [2.0, 4.0]) and kl (by "
        "5.0 points [3.0, 7.0])."
    )


def test_nothing_is_claimed_where_the_interval_covers_zero(results):
    results["differences"] = [
        row(READ, "fsq-512", -0.004, [-0.011, 0.003], False),
        row(READ, "kl", 0.004, [-0.003, 0.011], False),
        row(KID, "kl", -0.004, [-0.011, 0.003], False),
    ]
    lines = sentences(results)
    assert [line.kind for line in lines] == ["open", "open", "note"]
    assert lines[0].text == (
        "At equal time, fsq-512 (-0.40 points [-1.10, 0.30]) and kl (+0.40 points [-0.30, 1.10]) could not "
        "be separated from raw in pictures read right."
    )
    assert lines[1].text == "At equal time, these could not be separated from raw: kl in KID."
    results["differences"] = [row(KID, f"s{n}", 0.0, [-0.01, 0.01], False) for n in range(3)]
    assert answer(results)[0] == "At equal time, these could not be separated from raw: all systems in KID."
    assert not any("ahead" in line.text or " more " in line.text for line in lines)


def test_a_lower_number_that_is_better_is_ahead(results):
    results["differences"] = [row(KID, "kl", -0.02, [-0.03, -0.01], True)]
    assert answer(results)[0] == "At equal time, raw is behind kl (by 0.020 [0.010, 0.030]) in KID."


def test_a_metric_that_is_neither_good_nor_bad_only_differs(results):
    results["metrics"][KID] |= {"better": "neither", "title": "bits of a drawing"}
    results["differences"] = [row(KID, "kl", -0.02, [-0.03, -0.01], True)]
    assert answer(results)[0] == (
        "At equal time, bits of a drawing differ from those of raw: kl (-0.020 [-0.030, -0.010])."
    )


def test_the_answer_begins_with_drawing_and_reading(results):
    assert leading(results) == [DRAWN, READ]
    for cell in results["cells"]:
        cell["results"].pop(DRAWN)
    assert leading(results) == [KID, READ]
    for cell in results["cells"]:
        cell["results"]["late"] = 0.5  # what is right goes before what is near
    results["metrics"]["late"] = results["metrics"][DRAWN] | {"title": "characters drawn right"}
    assert leading(results) == ["late", READ]


def test_seeds_budget_and_machine_are_said(results):
    (note,) = answer(results)
    assert note == (
        "3 paired seeds, 1 min 00 s of training or 20,000 documents; intervals are 95 %, over seeds and "
        "pictures; Holm's correction over the systems, each metric by itself; on cpu with 2 cores."
    )


def test_one_seed_and_cells_that_are_not_done_are_said(results):
    results["seeds"] = [0]
    results["differences"] = [row(KID, "kl", 0.02, None, False, seeds=1)]
    results["left_out"] = {"text": "its extra rawmm[ocr] is not installed"}
    for cell in results["cells"]:
        if (cell["system"], cell["seed"]) == ("kl", 1):
            cell["state"] = "diverged"
    text = answer(results)
    assert any("over pictures alone" in line for line in text)
    assert "One seed: another training of the same systems may differ by more than intervals say." in text
    assert "Diverged: kl (seed 1, equal time) and kl (seed 1, equal documents)." in text
    assert "Left out: text, its extra rawmm[ocr] is not installed." in text


def test_systems_with_fewer_seeds_are_said(results):
    results["differences"] = [
        row(KID, "kl", 0.02, [0.01, 0.03], True, seeds=2),
        row(KID, "fsq-512", 0.02, [0.01, 0.03], True),
    ]
    assert "Compared on fewer seeds: kl at equal time (2)." in answer(results)


def test_numbers_have_the_digits_that_their_interval_bears():
    share, other = {"unit": "%"}, {"unit": ""}
    assert amounts(share, 0.0312, [0.0118, 0.0491]) == ("3.1", "1.2", "4.9")
    assert amounts(share, 0.312, [0.118, 0.491]) == ("31", "12", "49")
    assert amounts(other, 0.00412, [0.00012, 0.00812]) == ("0.0041", "0.0001", "0.0081")
    assert amounts(share, 0.0, [0.0, 0.0]) == ("0.0", "0.0", "0.0")
    assert amounts(other, 1234.5, None) == ("1,234",)


def test_from_numbers_to_the_answer():
    results, values = comparison({"raw": {READ: 0.95}, "fsq": {READ: 0.7}})
    results["differences"] = differences(results, values)
    assert answer(results)[0].startswith("At equal time, raw reads 30.5 points more")
