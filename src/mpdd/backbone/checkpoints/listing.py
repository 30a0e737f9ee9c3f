"""The rows of `mpdd backbone list`, which loads no model."""

from __future__ import annotations

import json
from typing import Any

from mpdd.backbone.checkpoints import registry, store
from mpdd.backbone.checkpoints.registry import EMBEDDED, EMBEDDED_FOLDER, KnownBackbone
from mpdd.errors import InputError


def listed() -> list[dict[str, Any]]:
    """The backbones that can be named, one row each: the embedded one, then those that can be fetched.

    `here` says yes, no or damaged; `folder` is empty for one that was not fetched.
    """
    return [_embedded(), *(_fetchable(row) for row in registry.table().values())]


def _embedded() -> dict[str, Any]:
    index = json.loads((EMBEDDED_FOLDER / "model.safetensors.index.json").read_text(encoding="utf-8"))["metadata"]
    return {
        "name": EMBEDDED,
        "summary": "a small model for tests and demonstrations",
        "licence": "Apache-2.0",
        "parameters": index["total_parameters"],
        "download_bytes": 0,
        "disk_bytes": index["total_size"],
        "from": ["this package"],
        "sha256": "",
        "here": "yes",
        "folder": str(EMBEDDED_FOLDER),
        "metaprompt": registry.metaprompt_of(EMBEDDED).is_file(),
    }


def _fetchable(row: KnownBackbone) -> dict[str, Any]:
    try:
        folder = store.find(row.name)
        here = "yes" if folder else "no"
    except InputError:
        folder, here = store.root() / row.name, "damaged"
    return {
        "name": row.name,
        "summary": row.summary,
        "licence": row.licence,
        "parameters": row.parameters,
        "download_bytes": row.download_bytes,
        "disk_bytes": row.disk_bytes,
        "from": [f"{wheel.package} {wheel.version}" for wheel in row.wheels],
        "sha256": row.gguf_sha256,
        "here": here,
        "folder": str(folder) if folder else "",
        "metaprompt": registry.metaprompt_of(row.name).is_file(),
    }
