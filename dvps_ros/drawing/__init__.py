"""Visualization: pictures (H, W, 3) uint8 RGB in host memory."""
