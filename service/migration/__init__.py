"""Copying a whole store into another one, of any backend, and proving that they hold the same."""
