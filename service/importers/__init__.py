"""Importers: from files, folders and repositories to new memories."""

from recollect.service.importers.detection import open_importer
from recollect.service.importers.records import Format, Importer, ImportOptions, Record

__all__ = ["Format", "ImportOptions", "Importer", "Record", "open_importer"]
