"""Where models come from, outside."""
