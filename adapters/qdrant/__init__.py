"""Memories in Qdrant: in this machine's files by the embedded engine, or on a server or cluster."""
