"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# No test is about time: a busy machine must not make one fail.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("untimed")
