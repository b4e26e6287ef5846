"""When a failed step is tried again."""

import pytest

from videos.durable.retries import retry_delay_s


@pytest.mark.parametrize(
    ("failures", "delay"),
    [(1, 1), (2, 2), (3, 4), (4, None)],
)
def test_delays_double_until_there_is_no_retry_left(failures, delay):
    assert retry_delay_s(failures, 3, 1, 60, chance=0) == delay


def test_delays_are_capped_and_jittered_by_a_tenth():
    assert retry_delay_s(9, 10, 1, 60, chance=1) == pytest.approx(66)
