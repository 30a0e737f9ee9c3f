"""Locks: one holder alone, or any number that share; nothing of them stays, and a killed holder blocks nobody."""

from __future__ import annotations

import pytest

from mpdd.errors import InputError
from mpdd.files.locks import held

BUSY = InputError("Busy")


def test_a_lock_is_held_by_one_alone_and_leaves_nothing(tmp_path):
    path = tmp_path / "lock"
    with held(path, BUSY):
        for shared in (False, True):
            with pytest.raises(InputError, match="Busy"), held(path, BUSY, shared=shared):
                pytest.fail("held twice")
    assert not path.exists()
    with held(path, BUSY):
        pass


def test_a_shared_lock_is_held_by_many_and_by_none_alone(tmp_path):
    path = tmp_path / "lock"
    with (
        held(path, BUSY, shared=True),
        held(path, BUSY, shared=True),
        pytest.raises(InputError, match="Busy"),
        held(path, BUSY),
    ):
        pytest.fail("held beside others")
    with held(path, BUSY):
        pass


def test_a_lock_that_is_taken_away_while_one_waits_for_it_is_taken_anew(tmp_path, monkeypatch):
    """Between opening the file and locking it, another process may end and remove it: that lock would be nobody's."""
    import mpdd.files.locks as locks

    path, opened = tmp_path / "lock", locks._open

    def removed_once(place):
        descriptor = opened(place)
        monkeypatch.setattr(locks, "_open", opened)
        place.unlink()
        return descriptor

    monkeypatch.setattr(locks, "_open", removed_once)
    with held(path, BUSY):
        assert path.exists()
        with pytest.raises(InputError), held(path, BUSY):
            pytest.fail("held twice")
    assert not path.exists()


def test_an_error_within_lets_go(tmp_path):
    with pytest.raises(ValueError), held(tmp_path / "lock", BUSY):
        raise ValueError
    with held(tmp_path / "lock", BUSY):
        pass
