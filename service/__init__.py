"""The application: use cases, HTTP, command line.

What a program that embeds the service needs is here; importing it loads no model.
"""

from recollect.service.memory_service import MemoryService, create_memory_service
from recollect.service.requests import (
    ListRequest,
    MemoryBatch,
    NewMemory,
    ProvenanceInput,
    ReadOptions,
    Revision,
    SearchRequest,
)
from recollect.service.settings import Settings
from recollect.service.wrapping import ProvenanceMemoryService

__all__ = [
    "ListRequest",
    "MemoryBatch",
    "MemoryService",
    "NewMemory",
    "ProvenanceInput",
    "ProvenanceMemoryService",
    "ReadOptions",
    "Revision",
    "SearchRequest",
    "Settings",
    "create_memory_service",
]
