"""Run by the Python of an environment with vLLM: greedy tokens of a model folder behind token ids or embeddings, in
fp32.

With `prompts`, the folder of an export for vLLM, requests that begin with the ids of a prompt are answered behind
it. Given as JSON on standard input, answered as JSON on the last line: `tokens`, and `under`, what the connector
says of each.
"""

import json
import sys

import torch
from vllm import LLM, SamplingParams


def main() -> None:
    asked = json.load(sys.stdin)
    options = {"enable_prompt_embeds": bool(asked["embeddings"]), **asked.get("options", {})}
    if folder := asked.get("prompts"):
        sys.path.insert(0, folder)
        options["kv_transfer_config"] = {
            "kv_connector": "PromptConnector", "kv_connector_module_path": "mpdd_vllm_connector", "kv_role": "kv_consumer",
        }  # fmt: skip
    model = LLM(asked["model"], dtype="float32", enforce_eager=True, max_model_len=asked["context"], **options)
    prompts = [{"prompt_token_ids": ids} for ids in asked["ids"]]
    prompts += [{"prompt_embeds": torch.tensor(rows, dtype=torch.float32)} for rows in asked["embeddings"]]
    sampling = SamplingParams(temperature=0.0, max_tokens=asked["tokens"])
    for _ in range(asked.get("rounds", 1)):
        answers = model.generate(prompts, sampling, use_tqdm=False)
    under = [(answer.kv_transfer_params or {}).get("mpdd_prompt") for answer in answers]
    print("\n" + json.dumps({"tokens": [list(answer.outputs[0].token_ids) for answer in answers], "under": under}))


if __name__ == "__main__":  # vLLM starts processes that import this file again
    main()
