"""The wire protocol, sans-IO: both ends of the socket use these modules."""
