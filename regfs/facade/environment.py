"""What the environment says of where a registry stores, and with which keys.

Besides the command line and the server nothing else of regfs reads the environment. Here it does,
for what reaches buckets (obstore) reads it in any case: a program would else be asked for the keys
by one half of regfs that the other half has found.
"""

from __future__ import annotations

import os


def storage_variables() -> dict[str, str]:
    """Return the variables that say where a registry stores, or with which keys."""
    from regfs.documents.storage import PREFIX
    from regfs.stores.bucket.place import VARIABLES

    return {
        name: text
        for name, text in os.environ.items()
        if name in VARIABLES or name.startswith(PREFIX)
    }
