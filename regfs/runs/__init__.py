"""Runs: every change of a tree is written down before it is made, and can be taken back.

    .regfs/lock                                  held by whoever changes the tree
    .regfs/runs/<run>/journal.jsonl              what was intended, and what was done
    .regfs/runs/<run>/reserve                    space to end the run with, on a full disk
    .regfs/runs/<run>/quarantine/<path>          what was moved, under its own path
    .regfs/runs/<run>/quarantine/undone/<path>   what the run created, and a restore took out
    .regfs/runs/<run>/quarantine/replaced/<path> bad bytes for which good ones went back

An intent is durable before its change begins. Whether a thing was moved shows in where it lies,
and whether a file is what a run wrote in its content, so taking back twice, or after a crash, is
the same as once. A move is a rename within the file system: it takes no space until `purge`, and
`restore` renames back. A restore deletes nothing.

What deletes for good accounts for each thing. Every line of a journal carries a check. A line
that is damaged, missing, repeated or out of place makes the run damaged, and so does anything
in its quarantine that no line names. Nothing of a damaged run is deleted; a restore puts back
what lies there. And before a thing is deleted its place is checked: the last good copy goes
back, and bad bytes stay until a good copy has come.

What a power cut leaves. A rename is on the disk as a whole or not at all, as on every
journaling file system. But until the folders that it changed are synced, a power cut may undo
it, and of several renames it may undo any: the first of two, and not the second. So the changed
folders are synced, each once, wherever something rests on what was done before:

    before another kind of thing is moved     Kinds go in order, references before what they
        refer to. A power cut undoes moves of one kind only, and all that these could refer
        to is still in its place. On the way back likewise, in reverse order.
    before a line says that it is done        `synced`, `applied`, `restored`, `returned`:
        whoever reads that may rely on it.
    before anything is deleted                The last check of what is in use looked at names,
        and no name may come back when what it stands for is deleted.

A killed process leaves moves that are not synced, on a machine that runs on. Its journal then
does not end in one of those lines, and whoever changes the tree next first syncs the folders
that it names (`sync_interrupted`). So at any moment

    moving out      each thing lies in its place or in quarantine, and the intent is in the
                    journal: the next run completes it, a restore takes it back
    moving back     likewise; another restore completes it
    deleting        `purging` was durable before the first deletion: a restore is refused, and
                    the next purge deletes what has come back, unless that is in use and good.
                    `purged` is written when the folder of the quarantine is durably gone.
    tidying up      a folder that was removed may be there again, and is empty

and nothing that anybody may ask for is missing. What others did before (the registry syncs
nothing) is as durable as the file system makes it.

gc's sweep and heal decide what is to change; only this package changes it, so there is no
change without a journal. Clients of a server change a tree apart from this, through `push`:
they bring content, and remove links.

    lines          the lines of a journal and their checks
    records        what each line says
    account        what the records add up to
    journal        all of one run's journal
    contents       what lies in a quarantine, and which line names it
    status         what has become of a run, and when it moved its items
    places         what lies at the place of an item by now
    preconditions  one file system, and the right to write
    space          what a run needs, set aside before it begins
    in_place       deleting where there is no space for a quarantine
    sync           which folders a power cut could still take back
    changes        during a run
    undo           restore, and putting back what is in use again
    purge          deleting for good
    prune          deleting the journals of runs purged long ago
"""

from regfs.runs.changes import Changes, PlannedLink, changing, clear_unfinished, rename_source
from regfs.runs.contents import contents
from regfs.runs.in_place import InPlace
from regfs.runs.journal import (
    Journal,
    Returned,
    Skipped,
    find_run,
    journals,
    new_run,
    read_journal,
)
from regfs.runs.paths import RUNS
from regfs.runs.places import is_good, present
from regfs.runs.preconditions import require_one_filesystem, require_writable
from regfs.runs.prune import KEEP, prune
from regfs.runs.purge import Purged, in_the_future, old_enough, purge
from regfs.runs.records import Change, Item, RunKind
from regfs.runs.space import RESERVE, begun, claim, occupied, unclaim
from regfs.runs.status import Run, Runs, Survey, created, runs, survey, surveys
from regfs.runs.undo import Restored, put_back, restore

__all__ = [
    "KEEP",
    "RESERVE",
    "RUNS",
    "Change",
    "Changes",
    "PlannedLink",
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
    "Survey",
    "begun",
    "changing",
    "claim",
    "clear_unfinished",
    "contents",
    "created",
    "find_run",
    "in_the_future",
    "is_good",
    "journals",
    "rename_source",
    "new_run",
    "occupied",
    "old_enough",
    "present",
    "prune",
    "purge",
    "put_back",
    "read_journal",
    "require_one_filesystem",
    "require_writable",
    "restore",
    "runs",
    "survey",
    "surveys",
    "unclaim",
]
