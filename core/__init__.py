"""What irer's engines mean: pure, no files, sockets, clock or randomness of its own."""
