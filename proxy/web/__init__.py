"""Ways in over the network: MCP over Streamable HTTP and WebSocket, REST, and a page for people.

Each translates and never decides: routing, names, limits and ownership are the relay's.
"""
