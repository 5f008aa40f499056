"""Listening beside the looking: in time, in vain, and after an error on either side."""

import threading
import time

import pytest

from avser.beside import LOADED, Beside
from avser.branches import Voice
from avser.types import MediaError


def test_it_begins_with_the_pictures_and_hears_their_end():
    began = threading.Event()

    def listening(seen, report):
        began.set()
        report(0.5)
        return Voice({}, seen())

    reported: list[float] = []
    with Beside(listening) as voice:
        report = voice.reporting(reported.append)
        for second in range(LOADED - 1):
            report(second)
        assert not began.wait(0.05)
        report(LOADED)
        assert began.wait(10)
        assert voice.result(7.0).end == 7.0
    assert len(reported) == LOADED


def test_without_pictures_it_listens_in_the_end():
    with Beside(lambda seen, report: Voice({}, seen())) as voice:
        assert voice.result(3.0).end == 3.0


def test_an_error_of_either_side_is_raised_and_ends_the_other():
    def broken(seen, report):
        raise MediaError("no sound")

    with pytest.raises(MediaError, match="no sound"), Beside(broken) as voice:
        voice.result(1.0)
    ended = []

    def endless(seen, report):
        try:
            while True:
                report(0.0)
                time.sleep(0.01)
        finally:
            ended.append(True)

    def waiting(seen, report):
        try:
            return Voice({}, seen())
        finally:
            ended.append(True)

    def look_in_vain(listening):
        with Beside(listening) as voice:
            report = voice.reporting(lambda second: None)
            for second in range(LOADED):
                report(second)
            raise MediaError("no picture")

    for listening in (endless, waiting):
        with pytest.raises(MediaError, match="no picture"):
            look_in_vain(listening)
    assert ended == [True, True]
