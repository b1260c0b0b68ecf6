"""For processes whose clock is turned: libfaketime 0.9.10 cannot sleep until a moment of the true clock,
which is how Python sleeps. A wait for an event that never comes is the same, and works."""

import threading
import time


def _sleep(seconds: float) -> None:
    threading.Event().wait(seconds)


setattr(time, "sleep", _sleep)  # noqa: B010  its declared type is wider than anybody needs
