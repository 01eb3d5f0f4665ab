"""Link identities: what they may be used for, and what they may be called."""

import contextlib
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from protocols.errors import InvalidInputError
from provisioning.pki.development_ca import DevelopmentAuthority, IdentityFiles

NOW = datetime.now(UTC)  # a real TLS stack judges these


@pytest.fixture
def authority(tmp_path: Path) -> DevelopmentAuthority:
    return DevelopmentAuthority(tmp_path / "pki", name="innkeeper development", now=NOW)


def _handshake(server: IdentityFiles, client: IdentityFiles | None, trusted: Path) -> None:
    """Shake hands in memory; raises ssl.SSLError as a real connection would."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(server.certificate, server.private_key)
    ours.load_verify_locations(server.authority)
    ours.verify_mode = ssl.CERT_REQUIRED
    theirs = ssl.create_default_context(cafile=str(trusted))
    if client is not None:
        theirs.load_cert_chain(client.certificate, client.private_key)
    a_in, a_out, b_in, b_out = (ssl.MemoryBIO() for _ in range(4))
    near = theirs.wrap_bio(a_in, a_out, server_hostname="localhost")
    far = ours.wrap_bio(b_in, b_out, server_side=True)
    for _ in range(10):
        for side in (near, far):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
            b_in.write(a_out.read())
            a_in.write(b_out.read())


@pytest.mark.guarantee("G15")
def test_mutual_tls_takes_ours_and_refuses_no_certificate(authority: DevelopmentAuthority) -> None:
    server, client = authority.server("site-broker"), authority.client("edge-site")
    _handshake(server, client, authority.certificate_path)
    with pytest.raises(ssl.SSLError):
        _handshake(server, None, authority.certificate_path)


@pytest.mark.guarantee("G15")
def test_a_foreign_authority_is_refused_both_ways(authority: DevelopmentAuthority, tmp_path: Path) -> None:
    foreign = DevelopmentAuthority(tmp_path / "foreign", name="someone else", now=NOW)
    with pytest.raises(ssl.SSLError):
        _handshake(authority.server("site-broker"), foreign.client("edge-site"), authority.certificate_path)
    with pytest.raises(ssl.SSLError):
        _handshake(foreign.server("site-broker"), authority.client("edge-site"), authority.certificate_path)


def test_a_client_identity_cannot_serve_and_a_server_identity_cannot_ask(authority: DevelopmentAuthority) -> None:
    for files, usage in (
        (authority.client("edge-site"), ExtendedKeyUsageOID.CLIENT_AUTH),
        (authority.server("site-broker"), ExtendedKeyUsageOID.SERVER_AUTH),
    ):
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [usage]


@pytest.mark.parametrize("name", ["", "a", "A-b", "edge/down", "edge+", "#", "e" * 41, "-edge", "prop-a/down"])
@pytest.mark.guarantee("G8")
def test_names_that_could_widen_a_brokers_access_list_are_refused(authority: DevelopmentAuthority, name: str) -> None:
    with pytest.raises(InvalidInputError):
        authority.client(name)


def test_private_keys_are_for_their_owner_alone(authority: DevelopmentAuthority) -> None:
    files = authority.client("edge-site")
    assert stat.S_IMODE(files.private_key.stat().st_mode) == 0o600
