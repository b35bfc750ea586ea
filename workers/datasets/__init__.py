"""Data sets of images with their truth: read, written, profiled, and used to measure a detector."""
