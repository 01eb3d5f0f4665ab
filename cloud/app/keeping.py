"""What the service lets go by age, and after how long: the rules of every module, with the spans of the settings.

The time series and the ledger have their own (cloud/telemetry), check-ins theirs (cloud/checkin/sessions.py).
"""

from datetime import timedelta

from cloud.access import keeping as opening_keeping
from cloud.app.settings import KeepingSettings
from cloud.checkin import letter_keeping
from cloud.fleet import keeping as command_keeping
from cloud.guests import keeping as guest_keeping
from cloud.kit import outbox_keeping
from cloud.kit.keeping import Rule
from cloud.pms import run_keeping
from cloud.webhooks import keeping as webhook_keeping


def rules(settings: KeepingSettings) -> list[Rule]:
    """Return every rule; a span of nothing keeps for ever."""
    return [
        Rule("events", _unless_for_ever(settings.keep_events), outbox_keeping.DELIVERED),
        Rule("given_up_events", _unless_for_ever(settings.keep_given_up_events), outbox_keeping.GIVEN_UP),
        Rule("commands", _unless_for_ever(settings.keep_commands), command_keeping.SETTLED),
        Rule("openings", _unless_for_ever(settings.keep_openings), opening_keeping.OPENINGS),
        Rule("deliveries", _unless_for_ever(settings.keep_deliveries), webhook_keeping.OVER),
        Rule("pms_runs", _unless_for_ever(settings.keep_pms_runs), run_keeping.NOTED),
        Rule("guests", _unless_for_ever(settings.keep_guests), guest_keeping.OVER),
        Rule("letters", _unless_for_ever(settings.keep_letters), letter_keeping.OVER),
    ]


def _unless_for_ever(kept: timedelta) -> timedelta | None:
    return kept or None
