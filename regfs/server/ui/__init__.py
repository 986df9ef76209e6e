"""The web page: what is on the disk, for people with a browser.

    snapshot         the tree as it was at one moment, and the reports made of it
    snapshots        when one is taken, by a separate thread
    addresses        the paths of the page, both ways
    request_targets  what a request asks for, and whether it may be shown
    views/           reports -> frozen view models: what a template needs, in its words
    treemap          sizes -> rectangles
    templating       view models -> HTML, with everything from a tree escaped
    page_maker       a snapshot, a turn, a view model, a template -> a page
    pages            requests -> view models -> responses
    layer_pages      the same for what is inside images: layers are read as `jobs`
    responses        bodies -> responses, with the headers of every page

All figures come from `regfs.reports`. Nothing here changes a tree, and the API never waits
for it.
"""
