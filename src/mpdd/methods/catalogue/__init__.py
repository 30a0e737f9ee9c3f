"""The methods: every module here has some, as `METHODS`. A new file is all that a new method takes; it loads no torch."""
