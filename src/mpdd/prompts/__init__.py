"""Soft prompts, the shared metaprompt, where they meet a batch, and their files."""
