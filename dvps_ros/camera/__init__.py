"""Images and calibrations of cameras, without ROS: pixel formats, compressed images, camera_info, resizing."""
