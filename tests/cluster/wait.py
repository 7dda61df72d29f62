"""In a pod: be there until told to go, for `kubectl exec`."""

import signal

signal.signal(signal.SIGTERM, lambda *_: exit())
signal.pause()
