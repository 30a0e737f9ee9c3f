"""Run by the Python of an environment with llama.cpp: its greedy answers to token ids, from a model folder made GGUF, in fp32.

MPDD_LLAMA_CPP is the folder of llama.cpp's sources with convert_hf_to_gguf.py. The converter knows tokenizers by name, and not
that of the embedded backbone: it is told another's, as notes come in as token ids.
"""

import contextlib
import json
import os
import runpy
import sys
import tempfile
from pathlib import Path

import xllamacpp

SOURCE = Path(os.environ["MPDD_LLAMA_CPP"])


def main() -> None:
    asked = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model.gguf")
        with contextlib.redirect_stdout(sys.stderr):
            convert(asked["model"], model)
            written = generate(start(model, asked["context"]), asked)
    print("\n" + json.dumps(written))


def convert(folder: str, model: str) -> None:
    sys.path[:0] = [str(SOURCE), str(SOURCE / "gguf-py")]
    from conversion.base import TextModel

    TextModel.get_vocab_base_pre = lambda self, tokenizer: "llama-bpe"
    sys.argv = ["convert_hf_to_gguf.py", folder, "--outfile", model, "--outtype", "f32"]
    runpy.run_path(str(SOURCE / "convert_hf_to_gguf.py"), run_name="__main__")


def start(model: str, context: int) -> xllamacpp.Server:
    options = xllamacpp.CommonParams()
    options.model.path, options.n_ctx, options.n_parallel, options.warmup = model, context, 1, False
    options.cache_type_k = options.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    options.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(options)


def generate(server: xllamacpp.Server, asked: dict) -> list[str]:
    found = [server.handle_completions({"prompt": ids, "max_tokens": asked["tokens"], "temperature": 0}) for ids in asked["ids"]]
    return [one["choices"][0]["text"] for one in found]


if __name__ == "__main__":
    main()
