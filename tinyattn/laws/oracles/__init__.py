"""Mechanisms written a second time for the laws, as loops or by other mechanisms, without a piece that the definitions use."""
