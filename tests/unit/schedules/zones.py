"""Zones and moments to draw."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import available_timezones

from hypothesis import strategies as st

ZONES = sorted(available_timezones() - {"localtime"})

#: Moments of this century, most of them on days on which many clocks are turned.
MOMENTS = st.one_of(
    st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)).map(  # noqa: DTZ001 - made aware
        lambda moment: moment.replace(tzinfo=UTC)
    ),
    st.builds(
        lambda year, month, seconds: (
            datetime(year, month, 25, tzinfo=UTC) + timedelta(seconds=seconds)
        ),
        st.integers(2000, 2040),
        st.sampled_from([3, 10]),
        st.integers(0, 8 * 86400),
    ),
)
