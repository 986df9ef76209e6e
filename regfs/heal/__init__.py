"""Putting a tree right again, from what can be proven and nothing else.

    plan_heal(...)    what is missing or corrupt, and whether a source has it     needs.py
    heal(plan, ...)   fetch and verify; then, with the tree's lock, put in        repair.py,
                      place, while bad bytes go into quarantine                   fetching.py
    quarantine(...)   move corrupt data aside, so that a push heals it            quarantine.py
    plan_relink(...)  links that reachability proves                              relink.py
    relink(plan, ..)  write them

    open_source(...)  another tree, an OCI layout, an archive, a registry         opening.py

A plan only reads, and is what a dry run shows. What changes the tree is written
to a journal first, and `regfs.runs.restore` takes it back. Content is put in place
when it is whole and has its digest; no source is trusted for anything else.
"""
