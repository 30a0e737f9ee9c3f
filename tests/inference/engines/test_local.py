"""The engine in this process gives freed memory back to the system, now and then."""

from __future__ import annotations

from mpdd.inference.engines.local import Local, Thrift
from tests.inference.test_predict import requests


def test_every_call_may_give_memory_back(tiny):
    calls, engine = [], Local(tiny)
    engine._thrift._trim, engine._thrift._every = calls.append, 0.0
    engine.predict(requests(tiny, 2))
    assert calls == [0]


def test_not_more_often_than_it_should():
    calls, thrift = [], Thrift(every=3600.0)
    thrift._trim = calls.append
    thrift(), thrift()
    assert calls == []
