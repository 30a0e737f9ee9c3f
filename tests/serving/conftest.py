from __future__ import annotations

import pytest
import torch
from starlette.testclient import TestClient

from mpdd.data.task import TaskCard
from mpdd.engines.local import Local
from mpdd.prompts.store import Header, save_prompt
from mpdd.serving.access import Tokens, new_token
from mpdd.serving.app import create_app
from mpdd.serving.audit import AuditLog
from mpdd.serving.folder import PromptFolder
from mpdd.serving.service import Limits, Service

CARDS = {
    "drugs": TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",), max_answer_tokens=12),
    "pairs": TaskCard("pairs", "re", "Pair drugs and doses.", labels=("dose of",), max_answer_tokens=12),
    "says": TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no"), text_field="Premise", fields=("Hypothesis",)),
    "picks": TaskCard("picks", "qa", "Choose.", fields=("Question",)),
    "kinds": TaskCard("kinds", "classification", "Which kinds?", labels=("a", "b"), form="multiple", max_answer_tokens=8),
    "sums": TaskCard("sums", "summarization", "Say it in one line.", max_answer_tokens=12),
}


@pytest.fixture(scope="session")
def prompts(tiny, tmp_path_factory):
    """A folder of one prompt file for each card."""
    folder = tmp_path_factory.mktemp("prompts")
    for number, (name, card) in enumerate(CARDS.items()):
        rows = torch.randn(4, tiny.width, generator=torch.Generator().manual_seed(number))
        header = Header("soft", tiny.name, tiny.fingerprint, 4, tiny.width, tasks=(name,), card=card)
        save_prompt(folder / f"{name}.safetensors", {"rows": rows}, header)
    return folder


@pytest.fixture
def make(tiny, prompts, tmp_path):
    """Make a client of a gateway over the tiny backbone; `make.all` may use every task, `make.few` only drugs."""
    opened = []

    def of(**options):
        file = tmp_path / "tokens.toml"
        file.write_text(
            f'[[token]]\nname = "all"\nsha256 = "{all_digest}"\ntasks = ["*"]\n'
            f'[[token]]\nname = "few"\nsha256 = "{few_digest}"\ntasks = ["drugs"]\n'
        )
        file.chmod(0o600)
        audit = AuditLog(tmp_path / f"audit-{len(opened)}.jsonl", fsync=False)
        limits = Limits(**{"per_minute": 1e6, "burst": 10**6, **options.pop("limits", {})})
        engine = options.pop("engine", Local(tiny))
        folder = PromptFolder(options.pop("folder", prompts), tiny.vocabulary)
        service = Service(engine, folder, Tokens.read(file), audit, limits, **options)
        client = TestClient(create_app(service), raise_server_exceptions=True)
        client.__enter__()
        client.headers["Authorization"] = f"Bearer {of.all}"
        client.service, client.audit_path = service, tmp_path / f"audit-{len(opened)}.jsonl"
        opened.append(client)
        return client

    (of.all, all_digest), (of.few, few_digest) = new_token(), new_token()
    yield of
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make):
    return make()
