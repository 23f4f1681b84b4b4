"""How gradients happen."""
