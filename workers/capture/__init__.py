"""Cameras and triggers of a station."""
