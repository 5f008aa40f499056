"""Work on several items at a time."""

from __future__ import annotations

import threading
import time

import pytest

from avser.corpora.threads import each


def test_results_come_in_order_however_long_each_takes():
    def slow(number):
        time.sleep(0.02 * (3 - number))
        return 10 * number

    assert list(each(slow, range(4), workers=4)) == [0, 10, 20, 30]
    assert list(each(slow, [])) == []


def test_closing_leaves_out_what_has_not_begun():
    begun = []
    free = threading.Event()

    def work(number):
        begun.append(number)
        assert number == 0 or free.wait(10)
        return number

    made = each(work, range(100), workers=1)
    assert next(made) == 0
    threading.Timer(0.2, free.set).start()
    made.close()
    assert len(begun) <= 2


def test_an_error_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        list(each(lambda number: 1 // number, [1, 0, 1], workers=2))
