"""The same tree over HTTP: the OCI distribution API and a web page.

    settings   what a server may do            keys      what an application carries
    routes     a raw path -> what is asked     errors    error codes -> status and JSON
    app        middlewares, table of handlers  running   sockets, signals, the end
    api/       one module for each thing a registry is asked for
    sending    a blob as an answer             conditional  ranges and entity tags
    changing   threads for requests that may have to wait for a run

Every request goes the same way: its raw path becomes a Route, the settings of the server
say whether that is allowed, a handler calls `Registry` in a thread, and an exception becomes
an OCI error in one place. Nothing here knows where the tree is.
"""
