"""Grounded decoding: an answer may only name the card's labels and what stands in the text; and priors of answers."""

GROUNDED = False  # what answers are where nothing else is said: in experiments, in `mpdd predict`, `adapt` and `serve`
