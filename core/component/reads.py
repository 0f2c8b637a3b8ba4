"""How the component engine looks: the components there are, each by its manifest, and the runs of them."""

from typing import Any

from core.component import manifest as manifests
from core.component.builtin import BUILTIN
from core.component.commands import named
from core.component.manifest import Manifest, Title
from core.component.model import Components
from core.engine import Command, Context, Nothing, Result
from core.fields import Count, Hash


class DescribeComponent(Command):
    """Which component.

    name: of the component
    """

    name: Title


class Listed(Result):
    """A component.

    name: of the component
    version: of the component
    description: what it does
    kind: builtin, part of irer
    trigger: job, after each job of a hunt; winner, after a generation for its best run; or manual, when somebody asks
    digest: SHA-256 of its manifest
    """

    name: str
    version: str
    description: str
    kind: str
    trigger: str
    digest: str


class Listing(Result):
    """The components there are.

    components: each of them, by name
    running: runs that go on or wait for a worker
    """

    components: list[Listed]
    running: Count


class Described(Result):
    """A component, whole.

    manifest: what it says of itself
    digest: SHA-256 of its manifest
    trigger: when it runs here: job, winner or manual; the configuration says it
    """

    manifest: Manifest
    digest: Hash
    trigger: str


def listing(components: Components, command: Nothing, ctx: Context) -> Listing:
    rows = [
        Listed(
            manifest.name, manifest.version, manifest.description, "builtin", trigger_of(manifest, ctx), manifests.digest(manifest)
        )
        for manifest in sorted(BUILTIN.values(), key=lambda each: each.name)
    ]
    return Listing(rows, len(components.running))


def describe(components: Components, command: DescribeComponent, ctx: Context) -> Described:
    manifest = named(command.name)
    return Described(manifest, manifests.digest(manifest), trigger_of(manifest, ctx))


def trigger_of(manifest: Manifest, ctx: Context) -> str:
    """When a component runs by itself, as the configuration says."""
    settings: Any = ctx.settings.component
    if manifest.name in settings.triggered:
        return "job"
    return "winner" if manifest.name in settings.winners else "manual"
