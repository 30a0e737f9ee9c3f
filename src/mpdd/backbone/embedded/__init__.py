"""The backbone inside the package; written by `backbones/ship.py`, which pins the sha256 of its files."""

FILES = {
    "config.json": "f2be4fcc7f7da040cb50a716d1b7afcca84a818fdc46fccb2fa36b058c9a2088",
    "model-00001-of-00004.safetensors": "561f4135f6be11574d73428990b16a3c0f48b47c0783aae40967b77c0ff84e14",
    "model-00002-of-00004.safetensors": "921920ee3227f24b02ee96f18cae4d973c3755185a286cb924299097872fbfe5",
    "model-00003-of-00004.safetensors": "b5cee7d906a09d055a1f0b38f63a958cf8850a5e0da1feaa255a3eac675e3f56",
    "model-00004-of-00004.safetensors": "3c64f3440e87c6a6f0ca74574a249beb64463c33c5505d29aa166fd6ac885a6b",
    "model.safetensors.index.json": "0963cda722ddb6946bad5ebad0224314dbdec91a5fb82468946b07dffae91812",
    "tokenizer.json": "1e1320399bd81d65bd1372ab5f7e385cb04867c173c534c47fd6925d1870f69c",
    "tokenizer_config.json": "2a93230e6cd1ee09e5c5276125b8697c7cb091fb17ab1f496fc8d25a37a3464d",
}
