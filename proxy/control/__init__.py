"""The control socket: each proxy answers this user's `top` over a Unix socket of its own, found through the state
directory."""
