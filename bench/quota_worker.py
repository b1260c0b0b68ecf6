"""One worker process of the quota's measurement: its job comes as JSON on stdin."""

from __future__ import annotations

import json
import sys

from bench.quota import work

if __name__ == "__main__":
    work(json.load(sys.stdin))
