"""Rows laid end to end for one pass of the backbone: what sees what, and how it attends."""
