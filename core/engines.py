"""The list of engines: the only file that names them all."""

from core import cache, control, gate, nav, provenance, resource, system

ENGINES = [*system.TABLES, resource.ENGINE, gate.ENGINE, nav.ENGINE, control.ENGINE, provenance.ENGINE, cache.ENGINE]
