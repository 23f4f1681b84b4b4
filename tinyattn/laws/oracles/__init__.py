"""Mechanisms written a second time for the laws to compare: as loops over positions, or by other mechanisms."""
