"""Scores frames and decides verdicts."""
