"""The way down, as the modules' ports want it, over the record path's downlink."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.app.settings import DownlinkSettings
from cloud.fleet.commands import CommandResult
from cloud.telemetry.downlink import Downlink
from kit.clock import Clock
from protocols.device_model.command import Phase
from protocols.device_model.identity import EdgeId
from protocols.errors import InvalidInputError, LinkLostError, ReplyTimeoutError
from protocols.link.documents import DesiredDocument
from protocols.policy.envelope import Policy, sign

KEY_BYTES_MOST: Final = 64 * 1024
_NO_BROKER: Final = "no broker is configured: nothing can be sent to an edge"


class EdgeLine:
    """Commands and documents to edges. Without a downlink every call says that it never left."""

    def __init__(self, downlink: Downlink | None, *, clock: Clock) -> None:
        """Send through `downlink`."""
        self._downlink, self._clock = downlink, clock

    async def send(
        self, edge: str, kind: str, args: dict[str, Any], idempotency_key: str, deadline_ms: int, *, command_id: str
    ) -> CommandResult:
        """See cloud.fleet.commands.EdgeCommands."""
        if self._downlink is None:
            raise LinkLostError(_NO_BROKER)
        answer = await self._downlink.command(
            EdgeId(edge),
            kind,
            args,
            command_id=command_id,
            idempotency_key=idempotency_key,
            deadline_ms=deadline_ms,
        )
        try:
            phase = Phase(answer.phase)
        except ValueError as error:
            raise ReplyTimeoutError(f"command {command_id}: the edge answered {answer.phase!r}") from error
        return CommandResult(phase, answer.result, answer.error)

    async def publish(self, edge: str, name: str, version: int, body: dict[str, Any]) -> None:
        """See cloud.stays.publisher.Publish."""
        if self._downlink is None:
            raise LinkLostError(_NO_BROKER)
        await self._downlink.desire(DesiredDocument(EdgeId(edge), name, version, body, self._clock.wall_ms()))


def policy_signer(settings: DownlinkSettings) -> Callable[[Policy], bytes]:
    """Return what signs policies: the command key, for this use alone. Raises as `read_command_key`."""
    key, kid = read_command_key(settings.command_key_path), settings.key_id.encode()
    return lambda policy: sign(policy, key, kid)


def unsigned(_policy: Policy) -> bytes:
    """Stand for the signer where no key is configured."""
    raise InvalidInputError("downlink.command_key_path", "is not configured: no policy can be signed")


def read_command_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read the signing key. Raises InvalidInputError: missing, not PEM, or not P-256."""
    try:
        with path.open("rb") as file:
            key = serialization.load_pem_private_key(file.read(KEY_BYTES_MOST), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInputError(str(path), f"no private key: {type(error).__name__}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise InvalidInputError(str(path), "is not a P-256 key")
    return key
