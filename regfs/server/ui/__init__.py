"""The page to look at: what is on the disk, for people with a browser.

    snapshot     the tree as it was at one moment, taken by a thread of its own
    addresses    the paths of the page, both ways
    views/       reports -> frozen view models: what a template needs, in its words
    treemap      sizes -> rectangles
    templating   view models -> HTML, in which nothing of a tree can do harm
    pages        requests -> view models -> responses

What is shown comes from `regfs.reports`; nothing here counts for itself. Nothing here
changes a tree, and the API never waits for any of it.
"""
