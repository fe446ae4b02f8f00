"""The HTTP API on the unix socket: one table of routes, one short function for each."""
