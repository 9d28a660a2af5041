"""The answer to poisoned memories: trace what came of a source, take it out of recall, and bring it back."""
