"""Benchmarks: stages of a frame, topics, training steps, tracking, cameras, sustained load, ablations."""
