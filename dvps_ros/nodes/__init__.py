"""ROS 2 nodes: they convert, call and publish; all computing happens below."""
