"""The web page: what is on the disk, for people with a browser.

    snapshot     the tree as it was at one moment, and the reports made of it
    snapshots    when one is taken, by a separate thread
    addresses    the paths of the page, both ways
    views/       reports -> frozen view models: what a template needs, in its words
    treemap      sizes -> rectangles
    templating   view models -> HTML, with everything from a tree escaped
    pages        requests -> view models -> responses

All figures come from `regfs.reports`. Nothing here changes a tree, and the API never waits
for it.
"""
