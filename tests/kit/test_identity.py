"""TLS contexts: mutual, 1.3, trusting only whom they were told to trust."""

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kit.identity import read_certificate, tls_client_context, tls_server_context
from protocols.errors import InvalidInputError
from provisioning.pki.development_ca import DevelopmentAuthority

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentAuthority:
    return DevelopmentAuthority(tmp_path_factory.mktemp("pki") / "ca", name="house", now=NOW)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentAuthority:
    return DevelopmentAuthority(tmp_path_factory.mktemp("pki") / "other", name="stranger", now=NOW)


async def _shake(server: ssl.SSLContext, client: ssl.SSLContext) -> str | None:
    """Return the TLS version of a connection over which the server's greeting arrived; None if it did not.

    In TLS 1.3 a client learns that it was refused only when it reads.
    """

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server) as listening:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        try:
            version: str | None = writer.get_extra_info("ssl_object").version()
            return version if await reader.readline() == b"hello\n" else None
        except (ssl.SSLError, ConnectionError):
            return None
        finally:
            writer.close()
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await writer.wait_closed()


@pytest.mark.guarantee("G15")
async def test_two_of_one_house_meet_over_tls_1_3(house: DevelopmentAuthority) -> None:
    server, client = house.server("broker"), house.client("e-aurora0000000001")
    assert (
        await _shake(
            tls_server_context(server.certificate, server.private_key, client_ca=server.authority),
            tls_client_context(client.authority, client.certificate, client.private_key),
        )
        == "TLSv1.3"
    )


@pytest.mark.guarantee("G15")
async def test_a_client_of_another_house_or_of_none_is_refused(
    house: DevelopmentAuthority, stranger: DevelopmentAuthority
) -> None:
    server, other = house.server("broker"), stranger.client("e-aurora0000000001")
    serving = tls_server_context(server.certificate, server.private_key, client_ca=server.authority)
    for client in (
        tls_client_context(server.authority),
        tls_client_context(server.authority, other.certificate, other.private_key),
    ):
        assert await _shake(serving, client) is None


@pytest.mark.guarantee("G15")
async def test_a_server_of_another_house_is_refused(
    house: DevelopmentAuthority, stranger: DevelopmentAuthority
) -> None:
    server, ours = stranger.server("broker"), house.client("e-aurora0000000001")
    with pytest.raises(ssl.SSLCertVerificationError):
        await _shake(tls_server_context(server.certificate, server.private_key), tls_client_context(ours.authority))


def test_the_machines_own_authorities_are_not_trusted(house: DevelopmentAuthority) -> None:
    context = tls_client_context(house.client("edge-00000001").authority)
    assert len(context.get_ca_certs()) == 1
    assert context.check_hostname


def test_a_certificate_tells_its_name_and_its_end(house: DevelopmentAuthority) -> None:
    facts = read_certificate(house.client("e-aurora0000000001").certificate)
    assert facts.common_name == "e-aurora0000000001"
    assert facts.not_before <= NOW < facts.not_after


def test_files_that_do_not_serve_are_named(house: DevelopmentAuthority, tmp_path: Path) -> None:
    one, two = house.client("edge-00000001"), house.client("edge-00000002")
    nowhere, noise = tmp_path / "nowhere.pem", tmp_path / "noise.pem"
    noise.write_text("noise")
    for ca in (nowhere, noise):
        with pytest.raises(InvalidInputError, match=f"{ca.name}: no authority to trust"):
            tls_client_context(ca)
        with pytest.raises(InvalidInputError, match=f"{ca.name}: no certificate"):
            read_certificate(ca)
    with pytest.raises(InvalidInputError, match="no certificate with its key"):
        tls_client_context(one.authority, one.certificate, two.private_key)
    with pytest.raises(InvalidInputError, match="come together"):
        tls_client_context(one.authority, one.certificate)
