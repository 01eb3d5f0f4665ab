"""Which addresses the desk's page answers to, and what of the disk stands behind them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from edge.api.desk_routes import desk_routes
from kit.clock import ManualClock
from kit.http import application, serving
from tests.edge.world import T0

pytestmark = [pytest.mark.requirement("STY-08"), pytest.mark.guarantee("G6")]
SECRET: Final = "a secret beside the page"


@dataclass
class Files:
    port: int
    root: Path

    async def ask(self, path: str, method: str = "GET") -> tuple[int, str, str]:
        """Ask as no client would: the path goes out as it stands. Return status, location and body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1"))
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        lines = head.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        return int(lines[0].split(" ")[1]), headers.get("location", ""), body


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Files]:
    root = tmp_path / "web"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text("<!doctype html><title>Front desk</title>")
    (root / "assets" / "index-Ab_1.js").write_text("export {}")
    (tmp_path / "secret.js").write_text(SECRET)
    routes = desk_routes(
        clock=ManualClock(wall_ms=T0), property_id="aurora", plan=lambda: None, cloud=None, codes=False, root=root
    )
    async with serving(application(routes)) as port:
        yield Files(port, root)


@pytest.mark.parametrize(
    "path", ["/desk", "/desk?a=b", "//desk/", "/desk//", "/desk/%2f", "/desk//index.html", "/desk/index.html/"]
)
async def test_the_page_stands_at_one_address_by_which_it_finds_its_files_and_the_house(
    files: Files, path: str
) -> None:
    assert await files.ask(path) == (308, "/desk/", "")
    for here in ("/desk/", "/desk/?a=b", "http://proxy.example/desk/"):
        assert (await files.ask(here))[0] == 200


async def test_links_out_of_the_pages_folder_lead_nowhere(files: Files) -> None:
    (files.root / "assets" / "file-1.js").symlink_to(files.root.parent / "secret.js")
    (files.root / "loop.js").symlink_to("loop.js")
    (files.root / "inside.js").symlink_to(Path("assets") / "index-Ab_1.js")
    assert [(await files.ask(f"/desk/{each}"))[0] for each in ("assets/file-1.js", "loop.js")] == [404, 404]
    assert (await files.ask("/desk/inside.js"))[0] == 200
    outside = files.root.parent / "outside"
    outside.mkdir()
    (outside / "index.html").write_text(SECRET)
    (files.root / "index.html").unlink()
    (files.root / "index.html").symlink_to(outside / "index.html")
    status, _, body = await files.ask("/desk/")
    assert (status, SECRET in body) == (200, False)


async def test_no_other_method_reads_a_file(files: Files) -> None:
    for method in ("HEAD", "POST", "PUT", "DELETE", "TRACE", "PROPFIND"):
        status, _, body = await files.ask("/desk/", method)
        assert (status, "Front desk" in body) == (405, False), method


async def test_a_folder_that_is_itself_a_link_is_the_pages_folder(files: Files, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    files.root.rename(moved)
    files.root.symlink_to(moved)
    assert (await files.ask("/desk/assets/index-Ab_1.js"))[2] == "export {}"
