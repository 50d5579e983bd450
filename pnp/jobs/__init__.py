"""One picture, from a wish to a result."""

from .job import Job
from .record import Chosen, Record
from .restore import Restoration, restore, run

__all__ = ["Chosen", "Job", "Record", "Restoration", "restore", "run"]
