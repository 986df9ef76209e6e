"""The full-screen explorer of `regfs browse`; it needs Textual, which the extra `browse` brings.

    places          what can be shown, and what a page and a line of it are
    tree_data       what is known of the tree, read in stages
    repositories  pages  manifests  files  status_pages    what each place lists
    drawing  row_list  frame  help    the parts of the screen; driver: where it is
    navigation      where one is, and the two threads that read for it
    app             the keys

Nothing here changes a tree.
"""
