"""Instruments: they measure, and promise nothing. scripts/bench and scripts/faults run them."""
