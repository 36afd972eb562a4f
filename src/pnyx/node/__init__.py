"""A node: real sockets, a real clock, files and processes around the protocol core."""
