"""The catalogue's tasks, one short module each, exporting `TASK`; nothing else names a task."""
