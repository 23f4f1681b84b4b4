"""Low rank: fewer keys than tokens stand for all of them."""
