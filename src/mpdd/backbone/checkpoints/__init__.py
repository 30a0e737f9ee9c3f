"""Where the files of a backbone lie: inside the package, in a folder, in a GGUF file, or fetched by its known name."""
