"""The app folder that `flwr run` takes: a file that names our two apps and the federation, and no code."""

from __future__ import annotations

from pathlib import Path

import tomli_w

from mpdd import __version__
from mpdd.federated.federation import Federation


def write_app(folder: Path, federation: Federation, out: Path) -> Path:
    """Write the app of a federation, whose server leaves its files in `out`; return the app's folder, under `folder`."""
    app = folder / "mpdd-federated"
    app.mkdir()
    values = {
        "project": {"name": app.name, "version": __version__, "description": "A federated metaprompt", "license": "Apache-2.0"},
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "mpdd",
                    "components": {
                        "serverapp": "mpdd.federated.server_app:app",
                        "clientapp": "mpdd.federated.client_app:app",
                    },
                    "config": {"federation": federation.to_toml(), "out": str(out.resolve())},
                }
            }
        },
    }
    (app / "pyproject.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
    return app
