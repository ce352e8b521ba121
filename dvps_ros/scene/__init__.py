"""From network output to scenes: labels and depth, ground and scale, tracks and camera motion, point clouds."""
