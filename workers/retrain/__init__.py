"""Teaches and retrains models."""
