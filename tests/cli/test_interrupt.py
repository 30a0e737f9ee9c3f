import signal
import time

import pytest

from mpdd.cli import insistent


class Swallows:
    """Python only prints what a destructor raises."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_a_destructor_swallows_comes_again():
    before = signal.getsignal(signal.SIGINT)
    passed_the_destructor = False
    with pytest.raises(KeyboardInterrupt), insistent():
        Swallows()
        passed_the_destructor = True
        time.sleep(20)
    assert passed_the_destructor
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_without_an_interrupt_nothing_changes():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)
    with insistent():
        pass
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)) == before
