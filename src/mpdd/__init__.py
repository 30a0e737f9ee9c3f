"""Multitask prompt distillation and decomposition for clinical language tasks."""

__version__ = "0.1.0"
