"""What a stock Ollama pulls from."""
