"""The same tree over HTTP: the OCI distribution API, and a page to look at.

    settings   what a server may do            keys      what an application carries
    routes     a raw path -> what is asked     errors    error codes -> status and JSON
    app        middlewares, table of handlers  running   sockets, signals, the end
    api/       one module for each thing a registry is asked for
    sending    a blob as an answer             conditional  ranges and entity tags
    changing   threads of those who may have to wait for a run

A request goes one way: its raw path becomes a Route, the mode of the server says
whether that may be asked at all, a handler asks `Registry` in a thread, and what
that raises becomes OCI's JSON in one place. Nothing here knows where the tree lies.
"""
