"""Small models, whole."""
