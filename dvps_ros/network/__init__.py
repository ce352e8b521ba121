"""The network: images in, ``Prediction`` out; knows no data, training or ROS."""

from dvps_ros.network.dvps import DvpsNet, build

__all__ = ["DvpsNet", "build"]
