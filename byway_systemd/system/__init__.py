"""Adapters to the outside world: one module for one thing outside."""
