"""Scores of parsed answers, and how sure one can be of them."""
