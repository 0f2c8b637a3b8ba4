"""Old files are put back, and a witness says so: that holds over restarts, also with the witness down, until it cosigns again."""

import shutil
from pathlib import Path

import trio

from core.engine import Actor
from core.notes import COSIGNER, Key, public_key
from core.settings import Settings, TrustedWitness, Witness
from irerd.host import RealHost
from irerd.witness.book import Book
from irerd.witness.server import Door
from state.fs import RealFiles
from tests.irerd.served import Configuration, Served, serving
from tests.irerd.witness.test_witness_server import Wire

KEY = Key("w.example", public_key(bytes(32)), COSIGNER)
OTHER = Key("v.example", public_key(bytes([1] * 32)), COSIGNER)
SETTINGS = Settings(witness=Witness(trusted={"beside": TrustedWitness(KEY.text(), "/run/w.sock")}))
ANN = Actor("uid:1", "operator", 1)
LOG = "engine_state"


class Scene:
    """A state directory and a place outside of it, and a witness that is up or down."""

    def __init__(self, place: Path) -> None:
        self.state, self.aside, witness = place / "state", place / "aside", place / "witness"
        for each in (self.state, self.aside, witness):
            each.mkdir()
        self.book = Book(RealFiles(witness), lambda: 1_767_225_600)
        self.book.make_key(bytes(32), KEY.name)
        self.up = True
        self.size = 1

    async def _answer(self, text: str) -> object:
        return self.book.answer(text)

    async def live(self) -> str:
        """One life of the daemon, in which somebody scales a pool; answers why that was refused, if it was."""
        scene = self

        class Host(RealHost):
            async def exchange(self, path: str, data: bytes, most: int) -> bytes:
                await trio.lowlevel.checkpoint()
                if not scene.up:
                    raise ConnectionRefusedError
                wire = Wire(data)
                await Door(scene._answer).serve(wire)  # type: ignore[arg-type]
                return wire.sent

        given = {"host": Host(self.state, {}), "aside": RealFiles(self.aside)}
        async with serving(self.state, Configuration(SETTINGS), **given) as served:
            daemon = served.daemon
            self.book.add(daemon.seals.key(daemon.log(LOG).origin).text())
            why = await self._scale(served)
            if not why:
                await daemon.dispatch.writer.wait_sealed(LOG)  # type: ignore[union-attr]
                await daemon.witnesses.ask_all()
        return why

    async def _scale(self, served: Served) -> str:
        dispatch, answered, said = served.daemon.dispatch, trio.Event(), []
        self.size = 3 + self.size % 5

        def reply(answer: object) -> None:
            said.append(answer)
            answered.set()

        dispatch.ask("resource.scale", {"pool": "compute", "size": self.size}, served.daemon.host.new_id(), reply)  # type: ignore[arg-type]
        await answered.wait()
        return said[0].error.detail if said[0].error else ""  # type: ignore[attr-defined]

    def copied(self, name: str) -> Path:
        return Path(shutil.copytree(self.state, self.state.parent / name))

    def put_back(self, copy: Path) -> None:
        shutil.rmtree(self.state)
        shutil.copytree(copy, self.state)


async def test_what_a_witness_said_holds_until_it_cosigns_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert await scene.live() == ""
    old = scene.copied("old")
    assert await scene.live() == ""
    newest = scene.copied("newest")

    scene.put_back(old)
    refused = await scene.live()
    assert "a witness has seen" in refused and "Put the newest back" in refused

    scene.up = False
    assert await scene.live() == refused, "it lies beside the log"
    for settings in (Settings(), Settings(witness=Witness(trusted={"other": TrustedWitness(OTHER.text())}))):
        async with serving(scene.state, Configuration(settings), aside=RealFiles(scene.aside)) as served:
            assert await scene._scale(served) == "", "a witness that is trusted no more accuses nobody"
    scene.put_back(old)
    assert await scene.live() == refused, "it lies outside too: the same old files once more"
    scene.put_back(newest)
    assert await scene.live() == refused, "nobody could ask the witness yet"

    scene.up = True
    assert await scene.live() == "", "it cosigned the newest files"
    scene.up = False
    assert await scene.live() == "", "and so it is forgotten, not only overruled"
    assert not list(scene.aside.iterdir())
