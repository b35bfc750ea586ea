"""The models: one file each; training and serving call the same preprocess and forward."""
