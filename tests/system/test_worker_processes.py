"""Worker processes: order, look-ahead, errors, deaths and interruptions, with tasks of known results."""

import os
import time
from multiprocessing import active_children

import pytest

from rawmm_cli.system.errors import DataError, RankError
from rawmm_cli.system.workers import Workers

pytestmark = pytest.mark.process


def later(seconds, value):
    time.sleep(seconds)
    return value


def fails(number):
    if number == 3:
        raise DataError(f"task {number} cannot be used")
    return number


def dies():
    os._exit(9)


def large(number):
    return bytes(4 << 20)


def workers(count=2):
    return Workers(count, "process that counts", "count less")


def test_results_are_in_the_order_of_tasks_with_little_look_ahead():
    taken = []

    def tasks():
        for number in range(20):
            taken.append(number)
            yield 0.05 * (number % 3 == 0), number

    with workers() as pool:
        for place, number in enumerate(pool.map(later, tasks())):
            assert number == place and len(taken) <= place + 1 + 6
        assert list(pool.map(later, [(0, "again")])) == ["again"]
    assert len(taken) == 20 and not active_children()


def test_an_error_of_a_task_is_raised_in_order():
    with workers() as pool:
        results = pool.map(fails, ((number,) for number in range(9)))
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DataError, match="task 3 cannot be used"):
            next(results)


def test_a_death_is_one_line():
    with pytest.raises(RankError) as caught, workers() as pool:
        list(pool.map(dies, [()] * 3))
    assert str(caught.value) == "a process that counts died, perhaps for lack of memory; count less"


@pytest.mark.parametrize("task", [(later, (600, 0)), (large, (0,))], ids=["running", "returning"])
def test_leaving_by_an_error_does_not_wait(task):
    function, words = task
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt), workers() as pool:
        results = pool.map(function, [words] * 40)
        if function is large:
            next(results)
        raise KeyboardInterrupt
    assert time.perf_counter() - started < 20 and not active_children()
