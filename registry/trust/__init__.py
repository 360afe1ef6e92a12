"""Who may say that a model is what it claims to be."""
