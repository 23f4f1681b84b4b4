"""Linear attention: a state in the place of the keys."""
