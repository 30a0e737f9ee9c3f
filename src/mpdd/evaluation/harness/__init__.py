"""Tasks for lm-evaluation-harness, so that any model is scored on our splits with our metrics.

`tasks` writes a folder with the tasks; `scoring` is what that folder calls inside the harness.
"""
