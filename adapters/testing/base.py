"""What all parts of the suite share: the fixtures."""

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from recollect.adapters.port import ProvenanceStorageAdapter, StoreProfile
from recollect.adapters.testing.values import PROFILE

AdapterFactory = Callable[[], ProvenanceStorageAdapter]
"""Returns a new closed adapter over the same storage at each call."""


class ConformanceBase:
    """The fixtures. Tests ask for `make_adapter` where they open and close, and for `adapter` where they do not."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def make_adapter(self) -> AdapterFactory:
        """Override this: return a callable that gives a new closed adapter over one fresh storage at each call."""
        pytest.fail("override the fixture 'make_adapter': see the page on writing a backend")

    @pytest.fixture
    def storage_profile(self) -> StoreProfile:
        """Return the profile that stores are made with. An override must keep the dimension."""
        return PROFILE

    @pytest_asyncio.fixture
    async def adapter(
        self, make_adapter: AdapterFactory, storage_profile: StoreProfile
    ) -> AsyncIterator[ProvenanceStorageAdapter]:
        """Give an open adapter over the storage, and close it afterwards."""
        adapter = make_adapter()
        await adapter.open(storage_profile)
        yield adapter
        await adapter.close()

    @pytest_asyncio.fixture
    async def other_adapter(
        self, adapter: ProvenanceStorageAdapter, make_adapter: AdapterFactory, storage_profile: StoreProfile
    ) -> AsyncIterator[ProvenanceStorageAdapter]:
        """Give a second open adapter over the same storage."""
        assert adapter is not None
        other = make_adapter()
        await other.open(storage_profile)
        yield other
        await other.close()
