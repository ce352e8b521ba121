"""The network at work: images in, scenes out, on whichever device there is."""

from dvps_ros.runtime.models import load_perceiver, locate
from dvps_ros.runtime.perceive import DeviceMemoryError, NonFiniteOutputError, Perceiver

__all__ = ["DeviceMemoryError", "NonFiniteOutputError", "Perceiver", "load_perceiver", "locate"]
