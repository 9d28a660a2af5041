"""The command line: the same words as the API, for people and for programs."""
