"""Storage: the port, its backends, and the suite that proves a backend."""
