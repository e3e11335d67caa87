"""The brain and the authority that the suites about the network share."""

from __future__ import annotations

import pytest
import trustme

from z4j_otel.devbrain.server import BrainThread

from .network_lab import Agent


@pytest.fixture
def brain():
    """Run an embedded brain."""
    with BrainThread() as brain:
        yield brain


@pytest.fixture
def brain_port(brain):
    """Return where the brain listens, without TLS."""
    return int(brain.url.rpartition(":")[2])


@pytest.fixture(scope="session")
def authority():
    """Return a certificate authority that only these tests know."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority, tmp_path_factory):
    """Return a file with the authority's certificate."""
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture(params=["ws", "longpoll"])
def agent(request, brain):
    """Return an agent for each way to the brain."""
    return Agent(request.param, brain.brain.mint_agent())
