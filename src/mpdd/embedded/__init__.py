"""The backbone inside the package; written by `backbones/ship.py`, which pins the sha256 of its files."""

FILES = {
    "config.json": "6616564d5f27991fbd53ee0b17849d0c02a92425e12d25aa229f8fd8670865ad",
    "model-00001-of-00002.safetensors": "d77f9b75877c80931a4c078396008f46b216100ec1eac62851bbf01acd7003ac",
    "model-00002-of-00002.safetensors": "14d6c9bc202257cbb0042b593c87c096eb0a43b8b7ba294748151e0bb1ac8ce5",
    "model.safetensors.index.json": "e1bb6840dae54e351b84b5223b180f21297514135721f30e7985af1e373c3661",
    "tokenizer.json": "0c279cbf8054d3f060bb9379aa1c8b22629271aedb722a1dca2e7061ad943c34",
    "tokenizer_config.json": "2a93230e6cd1ee09e5c5276125b8697c7cb091fb17ab1f496fc8d25a37a3464d",
}
