"""How the tests look at a refusal: one sentence, without note text."""

import pytest

from mpdd.errors import InputError

SECRET = "zebra"  # stands for note text, which no message may carry


def refusal(read, *args, **options):
    """Return the message of the InputError that `read` raises; it carries no note text."""
    with pytest.raises(InputError) as caught:
        read(*args, **options)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)
