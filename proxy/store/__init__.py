"""What outlives the process, in the state directory: listings of servers, and the names that were given.

Many proxies share the directory, of several versions, and none waits for another: each file is replaced as a whole,
has a check sum, and is ignored where it is not what this version wrote.
"""
