"""A campaign of faults: ``python -m tests.faults --minutes 20``.

Files of each format are damaged at random, writes fail at every place where a run writes, runs are
killed at random moments, and two processes take up one run at once. What may come of it is counted:

    told        one line, with the name of the file
    same        the damage changed nothing that is read
    unseen      a format without a checksum (JPEG, raw pixels) gave other numbers
    SILENT      other numbers from a format that has a checksum
    TRACEBACK   an error that nobody has put into words
    SLOW, LARGE more than 20 seconds, more than 1 GB

Those in capitals must not occur: the exit code is then 1, and the file is kept in a folder that is
named. A seed gives the same campaign again.
"""
