"""An experiment from its file to its table: configuration, run folder, stages, cells of the comparison, and estimates."""

TEST_EXAMPLES = 100
"""Test examples of a user's own task that are scored unless told otherwise; every method answers all of them."""
