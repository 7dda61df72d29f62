"""Runs in a pod: waits for SIGTERM, so that `kubectl exec` can run commands."""

import signal
import sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit())
signal.pause()
