"""The list of engines: the only file that names them all."""

from core import gates, resource, system

ENGINES = [*system.TABLES, resource.ENGINE, gates.ENGINE]
