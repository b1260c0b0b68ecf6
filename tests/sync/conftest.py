from __future__ import annotations

from hypothesis import settings

# A machine with other work to do is slow, which is no failure; and nothing is left in the checkout.
settings.register_profile("calm", deadline=None, database=None)
settings.load_profile("calm")
