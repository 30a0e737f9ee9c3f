"""Synthetic clinical notes and nine tasks over them, for where no public dataset can be reached.

Every note is invented: put together at random from the words and wordings in `source.toml` and `target.toml`.
"""

from mpdd.data.synthetic.tasks import SOURCES, TARGETS, TASKS

__all__ = ["SOURCES", "TARGETS", "TASKS"]
