"""The full-screen explorer of `regfs browse`; it needs Textual, which the extra `browse` brings.

    places          what can be shown, and what a page and a line of it are
    tree_data       what is known of the tree, read in stages
    repositories  pages  manifests  files  about    what each place lists
    drawing  rows  frame  help    the parts of the screen; driver: where it is
    walk            where one is, and the two threads that read for it
    app             the keys

Nothing here changes a tree.
"""
