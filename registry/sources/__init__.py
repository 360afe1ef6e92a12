"""Where models come from, outside: files, and the store of a local Ollama."""
