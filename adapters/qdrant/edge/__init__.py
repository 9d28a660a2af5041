"""Memories in the embedded Qdrant engine, which runs in a process of its own with a journal in front of it.

`adapter` is what a program uses, `worker` is what runs in the other process; neither imports the other's side.
"""
