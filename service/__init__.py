"""The application: use cases, HTTP, command line."""
