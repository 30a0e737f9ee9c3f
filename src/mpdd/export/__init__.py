"""Exports: task prompts in the formats of other programs, for where `mpdd` itself is not installed."""
