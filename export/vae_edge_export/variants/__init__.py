"""Variants of a bundle: graphs at one precision with parity, calibration, verdict, traps and golden outputs."""
