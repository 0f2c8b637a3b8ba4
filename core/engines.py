"""The list of engines: the only file that names them all."""

from core import cache, circuit, control, entity, gate, nav, provenance, resource, system

ENGINES = [
    *system.TABLES,
    resource.ENGINE,
    gate.ENGINE,
    nav.ENGINE,
    control.ENGINE,
    cache.ENGINE,
    entity.ENGINE,
    circuit.ENGINE,
    provenance.ENGINE,
]
