"""What is made from the table of verbs: byway(1) and the shells' completions."""
