"""Images that would not fit into memory are refused before they are read."""

import os

import pytest

from repre_lite.data.loading import check_memory
from repre_lite.runtime.errors import UserError


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="needs to ask for the memory")
def test_every_process_of_a_machine_keeps_its_own_images(monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 2**20, "SC_PAGE_SIZE": 2**12}.__getitem__)  # 4 GiB
    count = 2**30 // (3 * 64**2)  # 1 GiB
    check_memory(count, 64)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(UserError, match="64x64 in each of 4 processes take 4.0 GiB, more than half .*; use fewer"):
        check_memory(count, 64)
