"""Names, units and words of the metrics."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from hub.metrics import Metrics


def test_names_follow_the_conventions_and_say_what_they_mean() -> None:
    families = list(text_string_to_metric_families(Metrics().render().decode()))
    ours = [each for each in families if not each.name.startswith("process_")]
    assert len(ours) > 15
    for family in ours:
        assert re.fullmatch(r"gamehub_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert not re.search(r"_(ms|millis|kb|mb|count)$", family.name)
        assert not family.name.endswith("_created")


def test_two_in_one_process_are_strangers() -> None:
    first, second = Metrics(), Metrics()
    first.deliveries.inc(3)
    assert "gamehub_deliveries_total 3.0" in first.render().decode()
    assert "gamehub_deliveries_total 0.0" in second.render().decode()
