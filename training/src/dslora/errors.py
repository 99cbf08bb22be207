"""Errors that the user of the package can cause, and so can put right.

A message has three parts: what was wrong, what was expected, what to do. It never holds the text of a post.
Anything else that goes wrong is a fault of the package and keeps its own exception.
"""

from __future__ import annotations


class DsLoraError(Exception):
    """Something the user can put right; the command line prints the message alone, without a traceback."""


class MemoryShortError(DsLoraError):
    """Memory ran out while training, for all that was estimated before."""


class OtherRunError(DsLoraError):
    """A folder that holds a run with other settings or of other data."""


class DataError(DsLoraError):
    """A data set that is missing, unreadable or not what it should be. Names file and line where it can."""


class MissingDataError(DataError):
    """A data set that is not there at all: no folder was named for it, or none of its files is in that folder."""
