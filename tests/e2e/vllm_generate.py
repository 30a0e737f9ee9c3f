"""Run by the Python of an environment with vLLM: greedy tokens of a model folder behind token ids or embeddings, in fp32."""

import json
import sys

import torch
from vllm import LLM, SamplingParams


def main() -> None:
    asked = json.load(sys.stdin)
    model = LLM(asked["model"], dtype="float32", enforce_eager=True, max_model_len=asked["context"], enable_prompt_embeds=True)
    prompts = [{"prompt_token_ids": ids} for ids in asked["ids"]]
    prompts += [{"prompt_embeds": torch.tensor(rows, dtype=torch.float32)} for rows in asked["embeddings"]]
    sampling = SamplingParams(temperature=0.0, max_tokens=asked["tokens"])
    written = [list(found.outputs[0].token_ids) for found in model.generate(prompts, sampling, use_tqdm=False)]
    print("\n" + json.dumps(written))


if __name__ == "__main__":  # vLLM starts processes that import this file again
    main()
