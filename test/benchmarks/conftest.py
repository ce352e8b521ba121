"""Costs are measured with real messages: one rclpy session for the tests of this folder."""

from ros_session import ros  # noqa: F401
