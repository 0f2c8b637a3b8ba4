"""The list of engines: the only file that names them all."""

from core import cache, circuit, component, control, data, entity, gate, nav, provenance, resource, sim, system, trajectory
from core.energy import engine as energy
from core.hunt import engine as hunt

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
    sim.ENGINE,
    hunt.ENGINE,
    component.ENGINE,
    energy.ENGINE,
    trajectory.ENGINE,
    data.ENGINE,
]
