"""Text to vectors: models, runtimes, batching."""
