"""Which certificates do servers and callers show while they are measured?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme

from benchmarks.link import HOST

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM files of an authority that lives as long as the benchmark, of the server's, and of an agent's."""

    ca: str
    server: str
    server_key: str
    agent: str
    agent_key: str


def certificates(folder: Path, agent: str) -> Certificates:
    """Write them into a folder, which is made; the agent's common name is `agent`."""
    folder.mkdir(exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = {"server": authority.issue_cert(HOST), "agent": authority.issue_cert(HOST, common_name=agent)}
    for name, certificate in issued.items():
        certificate.private_key_pem.write_to_path(folder / f"{name}.key")
        for place, blob in enumerate(certificate.cert_chain_pems):
            blob.write_to_path(folder / f"{name}.pem", append=place > 0)
    return Certificates(
        ca=str(folder / "ca.pem"),
        server=str(folder / "server.pem"),
        server_key=str(folder / "server.key"),
        agent=str(folder / "agent.pem"),
        agent_key=str(folder / "agent.key"),
    )
