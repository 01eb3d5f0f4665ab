"""The document of stays reaches the edge, and is sent again until the edge says that it holds it."""

import pytest

from cloud.kit.database import Database
from cloud.kit.notify import NotificationHub
from cloud.stays import document
from cloud.stays.publisher import AGAIN_MS, DocumentPublisher
from cloud.stays.stays import upsert_reservations
from kit.clock import ManualClock
from tests.cloud.edges import FakeEdges
from tests.cloud.houses import AURORA, DAY_MS, NOW_MS, PLACE, open_house, reservation

pytestmark = pytest.mark.tier("postgres")


class Post:
    def __init__(self, database: Database) -> None:
        self.database, self.clock, self.edges = database, ManualClock(wall_ms=NOW_MS), FakeEdges()
        self.publisher = DocumentPublisher(database, self.edges.publish, clock=self.clock, hub=NotificationHub(""))

    @property
    def versions(self) -> list[int]:
        return [version for _, _, version, _ in self.edges.documents]


@pytest.fixture
async def post(database: Database) -> Post:
    await open_house(database)
    async with database.transaction() as connection:
        later = reservation("r2", room="102", arrival_ms=NOW_MS + 4 * DAY_MS, departure_ms=NOW_MS + 5 * DAY_MS)
        await upsert_reservations(connection, PLACE, [reservation(), later], now_ms=NOW_MS)
    return Post(database)


async def test_a_new_version_is_published_once_and_then_only_if_nobody_reports_it(post: Post) -> None:
    assert await post.publisher.publish_due() == 1
    edge, name, newest, body = post.edges.documents[0]
    assert (edge, name, body["property"], len(body["stays"])) == (AURORA.edge, "stays", "aurora", 1)
    assert await post.publisher.publish_due() == 0
    post.clock.advance(AGAIN_MS + 1)
    assert await post.publisher.publish_due() == 1
    async with post.database.transaction() as connection:
        await document.held(connection, property_id="aurora", version=newest, at_ms=post.clock.wall_ms())
    post.clock.advance(AGAIN_MS + 1)
    assert await post.publisher.publish_due() == 0
    assert post.versions == [newest, newest]


async def test_while_the_broker_is_away_nothing_counts_as_published(post: Post) -> None:
    post.edges.lost = True
    assert await post.publisher.publish_due() == 0
    post.edges.lost = False
    assert await post.publisher.publish_due() == 1


async def test_time_alone_brings_a_stay_into_the_next_72_hours(post: Post) -> None:
    await post.publisher.publish_due()
    post.clock.advance(2 * DAY_MS)
    await post.publisher.renew_all()
    await post.publisher.publish_due()
    first, second = (body["stays"] for _, _, _, body in post.edges.documents)
    assert len(first) == 1
    assert {each["room"] for each in second} == {"102"}
    assert post.versions == sorted(set(post.versions))
