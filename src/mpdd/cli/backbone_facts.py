"""What `mpdd backbone show` says of a backbone; of its weights, only the embedding matrix is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mpdd.backbone import vocabulary
from mpdd.backbone.checkpoints import places, registry, store
from mpdd.backbone.checkpoints.registry import EMBEDDED, KnownBackbone
from mpdd.backbone.text_part import text_config


def facts(name: str) -> dict[str, Any]:
    """What is known of a backbone by any of its names; for a known one that was not fetched, what the table says.

    Raises `InputError` for a file or folder that is no model, `MpddError` for a hub id that cannot be reached.
    """
    row = registry.table().get(name)
    if row is not None and store.find(name) is None:
        return {**_of_known(row), "folder": f"not fetched; `mpdd backbone get {name}` fetches it"}
    folder = places.folder_of(name)
    report = {**(_of_known(row) if row else {"name": name, "kind": _kind(name)}), **_of_folder(name, folder)}
    if provenance := store.provenance(Path(folder)):
        report["provenance"] = {key: value for key, value in provenance.items() if key not in ("files", "name", "licence")}
    return report


def _of_known(row: KnownBackbone) -> dict[str, Any]:
    terms = {"terms": row.terms} if row.terms else {}
    return {
        "name": row.name,
        "kind": "known",
        "summary": row.summary,
        "licence": row.licence,
        **terms,
        "package_index": [f"{wheel.package} {wheel.version}, wheel sha256 {wheel.sha256}" for wheel in row.wheels],
        "gguf": f"{row.gguf}, sha256 {row.gguf_sha256}",
        "model_hub": f"{row.hub.file} of {row.hub.repository}: the same file, with --from hub",
        "original": f"{row.original} on the model hub: not quantized, so another fingerprint; prompts fit one of the two",
        "parameters": row.parameters,
        "download_bytes": row.download_bytes,
        "disk_bytes": row.disk_bytes,
        "metaprompt": "in this package" if registry.metaprompt_of(row.name).is_file() else "none in this version",
    }


def _of_folder(name: str, folder: str) -> dict[str, Any]:
    """What a model's files say: shape, tokenizer, fingerprint."""
    words = vocabulary.load(name)
    config = vocabulary.pretrained(name, folder, lambda: AutoConfig.from_pretrained(folder))
    text, tokenizer = config.get_text_config(), words.tokenizer
    return {
        "folder": folder,
        "fingerprint": words.fingerprint,
        "model_type": config.model_type,
        "parameters": _parameters(folder),
        "layers": text.num_hidden_layers,
        "width": words.width,
        "vocabulary": int(words.table.shape[0]),
        "context": words.context,
        "dtype": str(words.table.dtype).removeprefix("torch."),
        "start_token": words.template.before or "none before a text",
        "end_token": f"{tokenizer.eos_token} ({words.end})",
        "chat_template": bool(tokenizer.chat_template),
        "metaprompt": _metaprompt_for(words.fingerprint),
    }


def _metaprompt_for(fingerprint: str) -> str:
    from mpdd.prompts.store import load_prompt

    fits = [name for name, path in registry.metaprompts().items() if load_prompt(path).header.fingerprint == fingerprint]
    return f"in this package, for {fits[0]}" if fits else "none in this version"


def _parameters(folder: str) -> int:
    """Counted on torch's meta device, tied weights once."""
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(text_config(folder))  # type: ignore[no-untyped-call]
    return int(model.num_parameters())


def _kind(name: str) -> str:
    if name == EMBEDDED:
        return "embedded"
    if places.is_gguf(name):
        return "GGUF file"
    return "folder" if Path(name).exists() else "hub id"
