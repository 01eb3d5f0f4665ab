"""Who answers at an OPC UA address, by what it says and by the nodes of the models that we know."""

from collections.abc import Sequence
from typing import Final

import pytest

from firmware_bridges.catalogue import load_all
from protocols.opcua.probe import MANUFACTURER, PRODUCT, Description, Endpoint, probe_server

CATALOGUE: Final = load_all()
ENDPOINTS: Final = (
    Endpoint("None", "none", ("anonymous",), "ab" * 32),
    Endpoint("Basic256Sha256", "sign_and_encrypt", ("anonymous", "username"), "ab" * 32),
)
PLANT: Final = Description("Plant \x1b[2J", "urn:plant", "urn:maker:plant", ENDPOINTS)


@pytest.mark.requirement("DEV-02")
async def test_a_model_is_known_by_its_identification_node() -> None:
    async def read(nodes: Sequence[str]) -> Sequence[object]:
        known = {"ns=2;s=Chiller1.ModelName": "CH-60", MANUFACTURER: "Somebody", PRODUCT: 7}
        return [known.get(each) for each in nodes]

    found = await probe_server(PLANT, read, CATALOGUE.values())
    assert [each.descriptor for each in found.candidates] == ["reference/chiller_60"]
    assert found.evidence["vendor"] == "Somebody"
    assert found.evidence["security"] == "None:none Basic256Sha256:sign_and_encrypt"
    assert found.evidence["users"] == "anonymous username"
    assert "\x1b" not in str(found.evidence["name"])
    assert "model" not in found.evidence  # what is no text is no name


async def test_a_server_that_does_not_let_us_in_is_found_all_the_same() -> None:
    found = await probe_server(PLANT, None, CATALOGUE.values())
    assert found.candidates == ()
    assert found.evidence["certificate_sha256"] == "ab" * 32
