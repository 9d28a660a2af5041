"""Branches: forking, comparing, merging, conflicts, rollback, cherry-picking, and tags."""
