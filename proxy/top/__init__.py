"""The terminal view of all running proxies."""
