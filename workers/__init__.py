"""The work: capture, inference, labeling, retraining, recording."""
