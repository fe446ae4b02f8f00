"""The settings page, and the unprivileged process that serves it to its user's own browser."""
