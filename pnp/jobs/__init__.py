"""One picture, from a wish to a result."""

from .job import Job, of_file
from .record import Chosen, Record
from .restore import Restoration, restore, run

__all__ = ["Chosen", "Job", "Record", "Restoration", "of_file", "restore", "run"]
