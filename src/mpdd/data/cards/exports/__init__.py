"""Exports of annotation tools, one module a tool; `known` lists them, `base` says what each gives."""
