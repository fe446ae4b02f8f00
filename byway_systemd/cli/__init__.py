"""The command line: one table of verbs, one short function for each."""
