"""What things cost: stages of a frame, topics, training steps, hours of load, parts of the method."""
