"""Gauges and meters: what the daemon's own events say about how well it does, in numbers that each tell how they were worked out.

A view (core/views.py): no event is made here, no engine asks it, and it may be deleted.
"""

from core.metrics.figures import CRITICAL as CRITICAL
from core.metrics.figures import HITS as HITS
from core.metrics.figures import MISSES as MISSES
from core.metrics.figures import NOT_THE_CALLERS as NOT_THE_CALLERS
from core.metrics.figures import REFUSED as REFUSED
from core.metrics.figures import VIEW as VIEW
from core.metrics.figures import Figures as Figures
