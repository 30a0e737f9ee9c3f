"""Grounded decoding: an answer may only name the card's labels and what stands in the text."""
