"""The one error whose sentence may leave a site."""

from __future__ import annotations

from mpdd.errors import InputError


class DisagreementError(InputError):
    """A site does not fit its federation; the sentence holds numbers, hashes and names of settings alone."""
