"""Runs: what changes a tree is written down before it is done, and can be taken back.

    .regfs/lock                                  held by whoever changes the tree
    .regfs/runs/<run>/journal.jsonl              what was meant, and what was done
    .regfs/runs/<run>/reserve                    space to end the run with, on a full disk
    .regfs/runs/<run>/quarantine/<path>          what was moved, under its own path
    .regfs/runs/<run>/quarantine/undone/<path>   what the run had made, and a restore took out
    .regfs/runs/<run>/quarantine/replaced/<path> bad bytes for which good ones went back

What will be done is durable before it is begun. Whether a thing was moved is
seen from where it lies, and whether a file is what a run wrote from its
content, so taking back after a crash, and twice, is the same as once. What was
moved is renamed within the file system: it costs no space until `purge`, and
`restore` renames it back. A restore deletes nothing.

What deletes for good accounts for each thing. Every line of a journal carries a check. A line
that is damaged, gone, doubled or in another place makes the run damaged, and so does anything
in its quarantine that no line names. Nothing of a damaged run is deleted; a restore puts back
what lies there. And before a thing is deleted its place is looked at: the last good copy
goes back, and bad bytes of which no good copy has come stay.

What a power cut leaves. A rename is whole on the disk, or not there at all, as on every
file system with a journal. But until the folders it has changed are synced a power cut
may undo it, and it may undo any of them: the first of two, and not the second. So the
folders are synced, each once, where something rests on what was done before:

    before another kind of thing is moved     Kinds go in order, what refers before what
        is referred to. A cut undoes moves of one kind only, and all that these could
        refer to is in its place still. On the way back likewise, the other way round.
    before a line tells that it is done       `synced`, `applied`, `restored`, `returned`:
        whoever reads that may rely on it.
    before anything is deleted                The last look at what is in use was at names,
        and no name may come back when what it stands for is gone.

A process that is killed leaves moves that are not synced, to a machine that runs on. Its
journal then ends otherwise than in one of those lines, and whoever changes the tree next
syncs the folders that it names before anything else (`sync_interrupted`). So at any moment

    moving out      each thing lies in its place or in quarantine, the intent is in the
                    journal: the next run does the rest, a restore takes it back
    moving back     likewise; a restore again does the rest
    deleting        `purging` was durable before the first byte went: a restore is refused,
                    the next purge deletes what has come back, but for what is in use and is
                    whole. `purged` is written when the folder of the quarantine is gone from
                    the disk for good.
    tidying up      a folder that was removed may be there again, and is empty

and nothing that anybody may ask for is missing. What others did before (the registry
syncs nothing) is as durable as the file system keeps things in order.

Who decides what is to change is elsewhere: gc's sweep, and heal. Whatever they
change is changed here, so nothing without a journal. Clients of a server change a
tree apart from this, in `uploads` and `publishing`: they bring content, and take links away.

    lines       the lines of a journal and their checks
    records     what they say
    account     what that comes to
    journal     all lines of one run
    contents    what lies in a quarantine, and which line names it
    status      what has become of a run, and when it has moved things
    places      what lies at the place of a thing by now
    reach       how far things can be moved
    space       what a run needs of it, set aside before it begins
    in_place    deleting where there is no space for a quarantine
    sync        which folders a power cut could still take back
    changes     during a run
    undo        restore, and putting back what is in use again
    purge       deleting for good
"""

from regfs.runs.changes import Changes, changing, clear_unfinished, rename_source
from regfs.runs.contents import FOLDERS, Contents, contents
from regfs.runs.in_place import InPlace
from regfs.runs.journal import (
    Journal,
    Returned,
    Skipped,
    journals,
    new_run,
    read_journal,
    require_run,
)
from regfs.runs.paths import RUNS, quarantine_of
from regfs.runs.places import is_good, present
from regfs.runs.preconditions import require_one_filesystem, require_writable
from regfs.runs.purge import Purged, in_the_future, purge
from regfs.runs.records import Change, Item, RunKind
from regfs.runs.space import RESERVE, begun, claim, unclaim
from regfs.runs.status import Run, Runs, created, runs, survey, surveys
from regfs.runs.undo import Restored, put_back, restore

__all__ = [
    "FOLDERS",
    "RESERVE",
    "RUNS",
    "Change",
    "Changes",
    "Contents",
    "InPlace",
    "Item",
    "Journal",
    "Purged",
    "Restored",
    "Returned",
    "Run",
    "RunKind",
    "Runs",
    "Skipped",
    "begun",
    "changing",
    "claim",
    "clear_unfinished",
    "contents",
    "created",
    "in_the_future",
    "is_good",
    "journals",
    "rename_source",
    "new_run",
    "present",
    "purge",
    "put_back",
    "quarantine_of",
    "read_journal",
    "require_one_filesystem",
    "require_run",
    "require_writable",
    "restore",
    "runs",
    "survey",
    "surveys",
    "unclaim",
]
