"""Edits: removing, tagging, moving and copying by name, journaled and undone like a collection.

    edit        what an edit changes, and the report of what it did
    removing    untag, rm: which tags, manifests and links go
    tagging     tag, rollback
    carry_out   the lock, the journal, and what a push beside it needs back

An edit is decided under the exclusive lock, from the tree as it is then, and by pure functions.
Links are created after what they refer to, and moved away before it; no edit moves a blob, so
none takes a byte from any other repository. Blobs that nothing needs any more go with the next
collection. `gc restore` takes any edit back.

Why nothing is lost beside a server that takes pushes:

    regfs's own server    holds the lock while it checks what a manifest needs and writes its
        links. So a push ends before the edit is decided, and what it wrote is seen; or it
        begins after the edit, finds what it needs or refuses the manifest.
    docker-registry       takes no lock. A link that was written to since it was looked at stays.
        After the moves the repositories are read once more, and whatever they need by now is
        put back: a manifest that a tag or an index names, a layer that a manifest names. A
        request that is between its check and its write in that moment may bring a need later;
        then the next collection or purge puts it back, and until that is done a pull of it may
        fail. Nothing that an edit moved is deleted before a purge has looked, after the wait
        for requests that were under way (`regfs.gc.collect` has the whole argument).
"""
