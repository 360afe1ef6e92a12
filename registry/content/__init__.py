"""Values and parsers: names of bytes, names of models, what manifests and model files say."""
