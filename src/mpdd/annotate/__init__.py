"""Notes answered by prompt files: read, asked in blocks, and written as plain structures."""
