"""The frozen language model: where it comes from, how it is loaded, and how rows go through it."""
