"""Every board there is. A new one is a module beside this, with a BOARD, and a line here."""

from irerctl.dashboards import Board
from irerctl.dashboards.daemon import BOARD as DAEMON

BOARDS: dict[str, Board] = {
    "irer.dashboard.json": DAEMON,
}
"""By the name of the file under docs/monitoring."""
