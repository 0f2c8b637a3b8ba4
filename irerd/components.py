"""The component methods that look at the configured directory: what stands there is told, and accepted only as somebody saw it."""

import os
import stat
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from core.component import manifest as manifests
from core.component import reads
from core.component.builtin import BUILTIN
from core.component.commands import AcceptComponent
from core.component.events import ComponentAccepted
from core.component.model import Components
from core.engine import Actor, Nothing, Refused
from irerd.dispatch import Answer
from irerd.session import Stream

if TYPE_CHECKING:
    from irerd.daemon import Daemon

MANIFEST = "component_manifest.json"
"""As the source names it: one in each folder."""
FOLDERS_MAX = 256
SCRIPT_BYTES_MAX = 1 << 20


class ComponentPorts:
    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon

    async def listing(self, params: Nothing, actor: Actor, stream: Stream) -> reads.Listing:
        found = await self._found()
        held = await self._daemon.host.offload(_sandbox) if self._directory() else None
        return reads.listing(self._state(), found, self._daemon.settings, held)

    async def describe(self, params: reads.DescribeComponent, actor: Actor, stream: Stream) -> reads.Described:
        return reads.described(self._state(), await self._found(), params.name, self._daemon.settings)

    async def accept(self, params: AcceptComponent, actor: Actor, stream: Stream) -> ComponentAccepted:
        if not self._directory():
            text = "no directory is configured for components of your own. Set component.directory, then: irerctl reload"
            raise Refused("failed-precondition", text, reason="directory")
        adopt = reads.adopted(await self._found(), params)
        dispatch = self._daemon.dispatch
        answers: list[Answer] = []
        answered = trio.Event()
        dispatch.write(dispatch.world.rows["component.adopt"], adopt, actor, partial(_tell, answers, answered))
        await answered.wait()
        if answers[0].error is not None:
            raise answers[0].error
        await dispatch.settled()
        now = self._state().accepted[adopt.name]
        version = self._state().manifests[adopt.name].version
        return ComponentAccepted(adopt.name, version, now.digest, now.manifest, now.script_sha256, now.folder)

    def _directory(self) -> str:
        return self._daemon.settings.component.directory

    def _state(self) -> Components:
        state = self._daemon.world.states["component"]
        assert isinstance(state, Components)
        return state

    async def _found(self) -> list[reads.Found]:
        directory = self._directory()
        return await self._daemon.host.offload(scan, directory) if directory else []


def _tell(answers: list[Answer], answered: trio.Event, answer: Answer) -> None:
    answers.append(answer)
    answered.set()


def _sandbox() -> reads.Sandbox:
    from irerd import sandbox

    return reads.Sandbox(*sandbox.report())


# --- the directory; all of this blocks ------------------------------------------------------------------------------------


def scan(directory: str) -> list[reads.Found]:
    """Every folder with a manifest, each with what is wrong with it, by name."""
    try:
        folders = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())[:FOLDERS_MAX]
    except OSError as error:
        text = (
            f"component.directory, {directory}, cannot be read ({error.strerror}). Make it, or name another, then: irerctl reload"
        )
        raise Refused("failed-precondition", text, reason="directory") from None
    found: list[reads.Found] = []
    taken = set(BUILTIN)
    for folder in folders:
        if (Path(directory) / folder / MANIFEST).exists():
            found.append(_one(Path(directory) / folder, taken))
            if (manifest := found[-1].manifest) is not None:
                taken.add(manifest.name)
    return found


def _one(folder: Path, taken: set[str]) -> reads.Found:
    try:
        if not _is_plain(folder.name):
            raise Refused("invalid-argument", "its folder's name has other signs than letters, digits and . _ -. Rename the folder")
        manifest = manifests.parse(_read(folder / MANIFEST, manifests.MANIFEST_BYTES_MAX))
        manifests.check_user(manifest, taken)
        script = _read(folder / manifest.script_to_run, SCRIPT_BYTES_MAX)
    except Refused as refused:
        return reads.Found(folder.name[:100], None, "", refused.detail)
    return reads.Found(folder.name, manifest, sha256(script).hexdigest(), "")


def _is_plain(name: str) -> bool:
    signs = name.replace("-", "a").replace("_", "a").replace(".", "a")
    return len(name) <= 100 and signs.isascii() and signs.isalnum() and not name.startswith(".")


def _read(path: Path, most: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise Refused("invalid-argument", f"{path.name} cannot be read ({error.strerror}). Put it beside the manifest") from None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Refused("invalid-argument", f"{path.name} is no file. Put one there")
        raw = file.read(most + 1)
    if len(raw) > most:
        raise Refused("invalid-argument", f"{path.name} has more than {most:,} bytes. Make it smaller")
    return raw
