"""The table of systems, from figures by hand."""

import json

from benchmarks import systems


def figures(drawn, read, seconds, **held_out):
    both = {"text_to_image": {"accuracy": drawn}, "held_out": held_out}
    both |= {} if read is None else {"image_to_text": {"accuracy": read}}
    return both | {"training_seconds": seconds, "seconds": 1.0}


def test_a_row_holds_the_median_of_the_seeds_and_their_spread(tmp_path):
    (tmp_path / "figures").mkdir()
    for seed, drawn in enumerate((0.99, 0.0, 0.95)):
        one = figures(drawn, 0.9, 70.0 + seed, bits_per_dim_bound=2.5)
        (tmp_path / "figures" / f"digits-{seed}.json").write_text(json.dumps(one))
    header, _, row = systems.table(tmp_path, ["digits", "digits-dit"], [0, 1, 2]).splitlines()
    assert header.startswith("| system | seeds | drawn right")
    assert row == "| digits | 3 | 95.0 % (0.0 to 99.0) | 90.0 % | at most 2.500 | 71 (70 to 72) |"


def test_what_a_system_cannot_do_is_a_dash():
    assert systems.cells([figures(1.0, None, 5.0, bits_per_dim=3.0)]) == "100.0 % | - | 3.000 | 5"
    assert systems.cells([figures(1.0, 0.5, 5.0)]) == "100.0 % | 50.0 % | - | 5"
