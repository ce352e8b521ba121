"""Depth-aware panoptic perception for ROS 2: one camera in, labelled 3-D out."""

__version__ = "0.1.0"
