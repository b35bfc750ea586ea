"""Dataset snapshots: from labels to an immutable, hashed, split version that a training run can name."""
