"""The configuration file: its shapes (`models`), and the one way to read it (`load`).

parse         text -> JSON data; says where and why a text is not JSON
clients       the keys that other programs write on an entry, in terms of ours
models        the shapes: the file as written, and what loading yields
problems      one line a problem: file, JSON path, what is wrong, the nearest known key
explain       all that is wrong with a value that a shape refused
checks        what the shapes alone cannot say: command or url, headers, two entries for one prefix
document      JSON data -> a valid `ConfigFile`, or everything that is wrong with it
expand        `${VAR}` and `${VAR:-default}`
environment   what a child process inherits
secrets       the values that must never be shown
load          finds the file, reads it, and puts the above together
changes       what differs between two configurations
watch         tells when the file was changed
"""
