"""Run by the Python of an environment with vLLM: greedy tokens of a model folder behind token ids or embeddings, in
fp32.

With `prompts`, the folder of an export for vLLM, requests that begin with the ids of a prompt are answered behind
it. Given as JSON on standard input, answered as JSON on the last line: `tokens`, `under`, what the connector says of
each, and `seconds`, the CPU seconds of each round. `tokens` given is how many are written, or a list of them by request;
with `fresh`, a round knows nothing of what the rounds before have read.
"""

import json
import sys
import time

import torch
from vllm import LLM, SamplingParams


def main() -> None:
    asked = json.load(sys.stdin)
    options = {"enable_prompt_embeds": bool(asked["embeddings"]), "dtype": "float32", **asked.get("options", {})}
    if folder := asked.get("prompts"):
        sys.path.insert(0, folder)
        options["kv_transfer_config"] = {
            "kv_connector": "PromptConnector", "kv_connector_module_path": "mpdd_vllm_connector", "kv_role": "kv_consumer",
        }  # fmt: skip
    model = LLM(asked["model"], enforce_eager=True, max_model_len=asked["context"], **options)
    prompts = [{"prompt_token_ids": ids} for ids in asked["ids"]]
    dtype = getattr(torch, options["dtype"])
    prompts += [{"prompt_embeds": torch.tensor(rows, dtype=dtype)} for rows in asked["embeddings"]]
    most = asked["tokens"] if isinstance(asked["tokens"], list) else [asked["tokens"]] * len(prompts)
    sampling = [SamplingParams(temperature=0.0, max_tokens=tokens) for tokens in most]
    seconds = []
    for _ in range(asked.get("rounds", 1)):
        if asked.get("fresh"):
            model.reset_prefix_cache()
        began = time.process_time()
        answers = model.generate(prompts, sampling, use_tqdm=False)
        seconds.append(time.process_time() - began)
    under = [(answer.kv_transfer_params or {}).get("mpdd_prompt") for answer in answers]
    tokens = [list(answer.outputs[0].token_ids) for answer in answers]
    print("\n" + json.dumps({"tokens": tokens, "under": under, "seconds": seconds}))


if __name__ == "__main__":  # vLLM starts processes that import this file again
    main()
