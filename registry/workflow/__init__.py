"""One verb of the journey each."""
