"""The full-screen explorer of `regfs browse`; it needs Textual, which the extra `browse` brings.

    places       what can be shown, and what a page and a line of it are
    tree_data    what is known of the tree, read in stages
    repositories  pages  manifests  about     what each place lists
    drawing  rows  frame  help  app           the screen
    worker       threads behind it

Nothing here changes a tree.
"""
