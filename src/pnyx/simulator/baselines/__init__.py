"""Published systems, and ours with parts taken away, on the scenarios of our own experiments."""
