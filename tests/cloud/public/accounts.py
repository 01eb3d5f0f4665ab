"""Two tenants with accounts, and what every way of signing in stands on: the base of the tests of each."""

from typing import Final

from cloud.kit.acting import acting, system
from cloud.kit.database import Database
from cloud.platform.accounts import create_account
from cloud.platform.passwords import Cost, Passwords
from cloud.platform.principals import Principals, Role
from cloud.platform.sign_in import SignIn
from cloud.public.gate import Gate
from cloud.public.sign_in_routes import SignInServices
from kit.clock import ManualClock
from kit.dice import SeededDice
from tests.cloud.houses import AURORA, BOREALIS, NOW_MS, open_house

PASSWORD: Final = "correct horse battery"
ANNA, BERT, OLGA = "anna@northlight.example", "bert@northlight.example", "olga@southwind.example"
"""An administrator and a clerk of one tenant, an administrator of the other."""


class Accounts:
    """The accounts, a gate that lets them in, and the services of signing in; `ids` by address."""

    def __init__(self, database: Database) -> None:
        self.clock, self.dice, self.database = ManualClock(wall_ms=NOW_MS), SeededDice(7), database
        self.passwords = Passwords(dice=self.dice, cost=Cost(memory_kib=64, iterations=1))
        self.sign_in = SignIn(database, passwords=self.passwords, clock=self.clock, dice=self.dice)
        principals = Principals([], dice=self.dice)
        self.gate = Gate(principals, database, clock=self.clock, origins=frozenset(), sign_in=self.sign_in)
        self.signing = SignInServices(database, self.sign_in, self.passwords, self.clock, self.dice, secure_cookie=True)
        self.ids: dict[str, str] = {}

    async def open(self) -> None:
        for house in (AURORA, BOREALIS):
            await open_house(self.database, house)
        phc = await self.passwords.hashed(PASSWORD)
        for email, role, tenant in (
            (ANNA, Role.ADMIN, "northlight"),
            (BERT, Role.STAFF, "northlight"),
            (OLGA, Role.ADMIN, "southwind"),
        ):
            with acting(system("test")):
                async with self.database.transaction() as connection:
                    made = await create_account(
                        connection, tenant=tenant, email=email, name=email[:4], role=role, properties=None,
                        phc=phc, by="test", dice=self.dice, now_ms=NOW_MS,
                    )  # fmt: skip
            self.ids[email] = made.id
