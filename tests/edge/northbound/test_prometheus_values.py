"""Values for Prometheus: numbers that are believed, and nothing else."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.northbound.prometheus_values import HELP, LABELS, NAME, rows
from kit.metrics import Metrics


def _value(value: object, quality: str = "good", unit: str | None = "Cel") -> dict[str, object]:
    return {
        "device": "t-1",
        "capability": "thermostat",
        "attribute": "a",
        "value": value,
        "unit": unit,
        "quality": quality,
    }


@pytest.mark.guarantee("G17")
def test_only_numbers_that_are_believed_are_shown() -> None:
    values = [_value(21.5), _value(True, unit=None), _value("heat"), _value(None, "bad"), _value(20.0, "stale")]
    assert [number for _, number in rows(values)] == [21.5, 1.0]
    assert rows([_value(3, "uncertain")]) == [(("t-1", "thermostat", "a", "Cel"), 3.0)]


def test_a_scrape_reads_them() -> None:
    metrics = Metrics("edge")
    metrics.table(NAME, HELP, LABELS, lambda: rows([_value(21.5)]))
    text = metrics.render().decode()
    assert 'innkeeper_device_value{attribute="a",capability="thermostat",device="t-1",unit="Cel"} 21.5' in text


def test_what_is_scraped_is_read_back_by_prometheus_own_parser() -> None:
    metrics = Metrics("edge")
    odd = {**_value(-0.5), "device": "t-2", "unit": 'a"b\\c\nd'}
    metrics.table(NAME, HELP, LABELS, lambda: rows([_value(21.5), _value(True, unit=None) | {"device": "w-1"}, odd]))
    [family] = [each for each in text_string_to_metric_families(metrics.render().decode()) if each.name.endswith(NAME)]
    assert (family.type, family.documentation) == ("gauge", HELP)
    told = {(each.labels["device"], each.labels["unit"]): each.value for each in family.samples}
    assert told == {("t-1", "Cel"): 21.5, ("w-1", ""): 1.0, ("t-2", 'a"b\\c\nd'): -0.5}
