"""A server that answers as vLLM does, over transformers alone and row by row: its API as far as our engine uses it."""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch


class FakeVllm:
    """Serves `model`; `down` makes it answer 503, `takes_rows=False` refuse embeddings. `seen` holds what it was sent.

    `prompts` has the rows of deep prompts and their digests, by the placeholder ids with which a request begins.
    """

    def __init__(self, model, end):
        self.model, self.end, self.down, self.takes_rows, self.seen = model, end, False, True, []
        self.lock, self.prompts = threading.Lock(), {}
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.path == "/v1/models":
                    return self.say(200, {"data": [{"id": "served"}]})
                return self.say(503 if fake.down else 200, {})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.seen.append(body)
                if fake.down:
                    return self.say(503, {})
                if "prompt_embeds" in body and not fake.takes_rows:
                    return self.say(400, {"error": "say nothing of it"})
                rows, digest = fake.under(body)
                said = {"kv_transfer_params": {"mpdd_prompt": digest}} if digest else {}
                return self.say(200, {"choices": [fake.complete(body, rows)], **said})

            def say(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def under(self, body):
        """The deep prompt [length, layers * width] that a request begins with, and its digest."""
        ids = body.get("prompt", [])
        return next((known for begin, known in self.prompts.items() if tuple(ids[: len(begin)]) == begin), (None, ""))

    @torch.inference_mode()
    def complete(self, body, deep=None):
        table = self.model.get_input_embeddings()
        if "prompt_embeds" in body:
            rows = torch.load(io.BytesIO(base64.b64decode(body["prompt_embeds"])), weights_only=True)
        else:
            rows = table(torch.tensor(body["prompt"]))
        ids, log_ps = [], []
        while len(ids) < body["max_tokens"]:
            with self.lock:
                scores = self.scores(rows, deep)
            allowed = body.get("allowed_token_ids")
            biased = scores.clone()
            for token, bias in body.get("logit_bias", {}).items():
                biased[int(token)] += bias
            ids.append(allowed[0] if allowed else int(biased.argmax()))
            log_ps.append(float(scores[ids[-1]]))
            if ids[-1] in body.get("stop_token_ids", []):
                break
            rows = torch.cat([rows, table(torch.tensor(ids[-1:]))])
        return {"token_ids": ids, "logprobs": {"token_logprobs": log_ps}}

    def scores(self, rows, deep):
        """The log-probabilities of the next token; in each layer a deep prompt's rows stand in place of the first."""
        width, length = rows.shape[1], 0 if deep is None else len(deep)
        begin = rows[None] if deep is None else torch.cat([deep[:, :width], rows[length:]])[None]

        def replaced(number):
            def before(_, arguments, options):
                states = options["hidden_states"] if "hidden_states" in options else arguments[0]
                states[0, :length] = deep[:, number * width : (number + 1) * width]

            return before

        layers = enumerate(self.model.model.layers) if deep is not None else ()
        hooks = [layer.register_forward_pre_hook(replaced(number), with_kwargs=True) for number, layer in layers if number]
        try:
            return self.model(inputs_embeds=begin, use_cache=False).logits[0, -1].log_softmax(-1)
        finally:
            for hook in hooks:
                hook.remove()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
