"""Every board there is. A new one is a module beside this, with a BOARD, and a line here."""

from irerctl.dashboards import Board
from irerctl.dashboards.daemon import BOARD as DAEMON
from irerctl.dashboards.energy import BOARD as ENERGY

BOARDS: dict[str, Board] = {
    "irer.dashboard.json": DAEMON,
    "irer-energy.dashboard.json": ENERGY,
}
"""By the name of the file under docs/monitoring."""
