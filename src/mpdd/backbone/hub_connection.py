"""Whether the Hugging Face hub can be reached at all, asked once a process, so that nobody waits for retries without a network.

Machines that hold patients' notes often have none. A model whose files are in the hub's cache then loads at once, and a mistyped
name is refused at once, where the hub's library would try again for more than a minute.
"""

from __future__ import annotations

import socket
import urllib.request
from functools import cache
from urllib.parse import urlsplit

SECONDS = 3.0  # that an address may take to answer


def work_offline_if_unreachable() -> bool:
    """Put the hub's library into its offline mode (as `HF_HUB_OFFLINE=1` does) where its server does not answer.

    Only a connection is opened and closed; nothing is sent. Behind a proxy nothing is tried, as the proxy knows the way.
    Return whether it is offline.
    """
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE and not _is_reachable(constants.ENDPOINT):
        constants.HF_HUB_OFFLINE = True
    return bool(constants.HF_HUB_OFFLINE)


@cache
def _is_reachable(address: str) -> bool:
    """Say whether the host of an address takes a connection."""
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return True
    try:
        socket.create_connection((host, port), timeout=SECONDS).close()
    except OSError:
        return False
    return True
