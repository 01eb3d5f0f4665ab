"""The edge's local API, as somebody at a command line asks it: one question, one answer, every refusal in words.

Where the edge is, is read from its own configuration, so that on the node nothing has to be typed; from elsewhere an
address and a token file say it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from protocols.documents import parse_toml
from protocols.errors import InvalidInputError, LinkLostError, PlatformError, ReplyTimeoutError

CONFIG_BYTES_MAX: Final = 1024 * 1024
TOKEN_BYTES_MAX: Final = 4 * 1024
PORT: Final = 8470
ANSWER_WAIT_S: Final = 60.0
"""A test waits up to half a minute for a sensor to speak."""


class RefusedError(PlatformError):
    """The edge said no. `reason` is its word for why; `members` the rest of what it said."""

    def __init__(self, detail: str, *, status: int, reason: str, members: dict[str, Any]) -> None:
        super().__init__(detail)
        self.status, self.reason, self.members = status, reason, members


@dataclass(frozen=True, slots=True)
class Way:
    """Where an edge is, and what opens it."""

    address: str
    token: str


def find_edge(config: Path | None, address: str | None, token_file: Path | None) -> Way:
    """Return the way to the edge.

    Args:
        config: Its edge.toml.
        address: `http://<host>:<port>`, rather than what the configuration says.
        token_file: The file of its token, rather than what the configuration says.

    Raises:
        InvalidInputError: a file is not there or says nothing of use; names it and what to give instead.
    """
    if address is None or token_file is None:
        if config is None:
            raise InvalidInputError("--config", "say where the edge's edge.toml is, or give --edge and --token-file")
        base, document = config.parent, _document(config)
        api = document.get("api", {})
        if not isinstance(api, dict):
            raise InvalidInputError(f"{config}: api", "is no table")
        token_file = token_file or _path(base, api.get("token_path")) or _token_beside(base, document, config)
        address = address or f"http://{_host(api)}:{_port(base, api, config)}"
    return Way(address.rstrip("/"), _token(token_file))


class EdgeDesk:
    """Asks one edge. Use as a context manager."""

    def __init__(self, way: Way, *, transport: httpx.BaseTransport | None = None) -> None:
        self._address = way.address
        self._http = httpx.Client(
            base_url=way.address,
            headers={"Authorization": f"Bearer {way.token}"},
            timeout=ANSWER_WAIT_S,
            trust_env=False,
            transport=transport,
        )

    def __enter__(self) -> "EdgeDesk":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def devices(self) -> list[dict[str, Any]]:
        """Return every device, planned or met. Raises as `ask`."""
        return list(self.ask("GET", "/api/v1/devices")["devices"])

    def device(self, device: str) -> dict[str, Any]:
        """Return one device. Raises as `ask`."""
        return self.ask("GET", f"/api/v1/devices/{quote(device, safe='')}")

    def found(self) -> list[dict[str, Any]]:
        """Return what was found and stands behind no name. Raises as `ask`."""
        return list(self.ask("GET", "/api/v1/found-devices")["found"])

    def probe(self, bus: str, first: int, last: int) -> dict[str, Any]:
        """Ask unit numbers of a bus who is there. Raises as `ask`."""
        return self.ask("POST", f"/api/v1/buses/{quote(bus, safe='')}/probe", {"first": first, "last": last})

    def change(self, device: str, act: str, body: dict[str, Any]) -> dict[str, Any]:
        """Bind, swap, unbind or test a device. Raises as `ask`."""
        return self.ask("POST", f"/api/v1/devices/{quote(device, safe='')}/{act}", body)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask once.

        Raises:
            RefusedError: the edge says no, and why.
            LinkLostError: there is no edge at that address; nothing was asked.
            ReplyTimeoutError: asked, and no answer: it may have happened.
        """
        try:
            response = self._http.request(method, path, json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise LinkLostError(f"no edge answers at {self._address}: {error}; is innkeeper-edge running?") from error
        except httpx.HTTPError as error:
            raise ReplyTimeoutError(
                f"{self._address} did not answer {method} {path}: it may have happened; look before you ask again"
            ) from error
        try:
            answer = response.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            answer = None
        if not response.is_success or not isinstance(answer, dict):
            raise _refusal(response, answer)
        return answer


def _refusal(response: httpx.Response, answer: object) -> RefusedError:
    told = answer if isinstance(answer, dict) else {}
    detail = str(told.get("detail") or f"the edge answered {response.status_code} {response.reason_phrase}")
    for each in told.get("errors", []) if isinstance(told.get("errors"), list) else []:
        if isinstance(each, dict):
            detail += f"; {each.get('key', '')}: {each.get('message', '')}"
    if response.status_code == httpx.codes.UNAUTHORIZED:
        detail = "the edge does not take this token: give --token-file (the edge's api-token), or its --config"
    reason = str(told.get("reason") or str(told.get("type", "")).rpartition(":")[2] or "refused")
    return RefusedError(detail, status=response.status_code, reason=reason, members=told)


def _document(config: Path) -> dict[str, Any]:
    try:
        with config.open("rb") as file:
            return parse_toml(file.read(CONFIG_BYTES_MAX + 1), str(config), CONFIG_BYTES_MAX)
    except OSError as error:
        raise InvalidInputError(
            str(config), f"cannot be read ({error.strerror or error}); give --config, or --edge and --token-file"
        ) from error


def _path(base: Path, text: object) -> Path | None:
    return base / text if isinstance(text, str) else None


def _token_beside(base: Path, document: dict[str, Any], config: Path) -> Path:
    folder = _path(base, document.get("data_dir"))
    if folder is None:
        raise InvalidInputError(f"{config}: data_dir", "is missing: is this the edge's edge.toml?")
    return folder / "api-token"


def _host(api: dict[str, Any]) -> str:
    host = str(api.get("host", "127.0.0.1"))
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"[{host}]" if ":" in host else host


def _port(base: Path, api: dict[str, Any], config: Path) -> int:
    port = api.get("port", PORT)
    if port != 0:
        return int(port) if isinstance(port, int) else PORT
    path = _path(base, api.get("port_path"))
    if path is None:
        raise InvalidInputError(f"{config}: api.port", "is 0 without a port_path: give --edge http://<host>:<port>")
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(str(path), "tells no port: is innkeeper-edge running?") from error


def _token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(TOKEN_BYTES_MAX).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            str(path), f"cannot be read as the edge's token ({error}); only its own user and root may: try sudo"
        ) from error
