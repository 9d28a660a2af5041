"""What the use cases share."""

from msgspec import Struct

from recollect.adapters.port import EncodedSearch, ProvenanceStorageAdapter
from recollect.embeddings import Embedder
from recollect.service.drafts import Drafter
from recollect.service.provenance.receipts import Receipts
from recollect.service.settings import Settings
from recollect.service.telemetry import Telemetry
from recollect.service.working import WorkingSets


class Parts(Struct, frozen=True, eq=False):
    """The open store, the loaded model, and what is kept beside them."""

    settings: Settings
    store: ProvenanceStorageAdapter
    encoded: EncodedSearch | None
    embedder: Embedder
    drafter: Drafter
    telemetry: Telemetry
    working: WorkingSets
    receipts: Receipts
