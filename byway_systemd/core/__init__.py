"""The pure part: values and functions over them. No input, output, clock or logging here."""
