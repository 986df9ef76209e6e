"""Inside images: the files of layers, and the root file system that they make together.

    Layers(registry)  .listing(digest) -> LayerListing of TarEntry   one layer
                      .open, .sha256                                 the content of a file in it
    Merged.merge([base, top])          -> Placed, Placed, ...        layers on top of each other
    image_files(registry, layers, ref) -> ImageFiles                 an image by its reference

Nothing is unpacked to disk, and nothing in a tree is changed.
"""
