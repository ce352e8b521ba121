"""Data sets on disk, as labelled frames and as augmented training batches."""
