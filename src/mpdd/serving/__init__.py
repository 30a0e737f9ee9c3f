"""All tasks of a folder of prompt files behind one HTTP gateway: one backbone, mixed batches, and nothing of a note kept."""
