"""Answering: requests of many tasks in one batch, greedy or grounded, with confidences, by one engine or another."""
