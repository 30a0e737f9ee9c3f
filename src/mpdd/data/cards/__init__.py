"""A user's own task without Python: a TOML card and data files become a `Task`; `card_file` is where to start."""
