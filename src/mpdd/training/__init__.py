"""The three stages and their baselines, over one loop."""
