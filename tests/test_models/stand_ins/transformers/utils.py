"""The settings of what is printed."""

from types import SimpleNamespace

STATE = {'verbosity': 30, 'bars': True}

logging = SimpleNamespace(
    get_verbosity=lambda: STATE['verbosity'],
    set_verbosity=lambda level: STATE.update(verbosity=level),
    set_verbosity_error=lambda: STATE.update(verbosity=40),
    is_progress_bar_enabled=lambda: STATE['bars'],
    disable_progress_bar=lambda: STATE.update(bars=False),
    enable_progress_bar=lambda: STATE.update(bars=True),
)
