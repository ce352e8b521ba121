"""What a camera sends, understood without ROS: pixel formats and calibration."""
