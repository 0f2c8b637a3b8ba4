"""The names at the top level of `irerctl`, in the order its help shows them.

Plain data, so that `--help` needs nothing else. A help line says what a command is for in words a stranger knows.
"""

from typing import NamedTuple

SECTIONS = ("Look", "Do", "Prove", "Science", "Set up")


class Entry(NamedTuple):
    """One name at the top level. Without a `place`, its commands are made from the rows of the catalogue."""

    section: str
    help: str
    place: str = ""
    """Module and attribute that hold the command."""


COMMANDS = {
    "status": Entry("Look", "What the daemon is doing, on one screen", "irerctl.screens.system:status"),
    "top": Entry("Look", "The daemon as it works: load, queues, engines, logs", "irerctl.top:top"),
    "watch": Entry("Look", "Follow what happens, as it happens", "irerctl.call:watch"),
    "gate": Entry("Look", "Who may come in, who was turned away, and why"),
    "nav": Entry("Look", "The ways in, which of them work, and going one of them"),
    "metrics": Entry("Look", "How well it does, as a few numbers with their history"),
    "wealth": Entry("Look", "What orders have brought, and what they may bring"),
    "regime": Entry("Look", "What sensors show: energy, entropy, and whether it is as it was"),
    "market": Entry("Look", "What proofs, energy and models cost; quotes and trades"),
    "energy": Entry("Look", "How the watching of sensors is, and the energy map", "irerctl.screens.eil:energy"),
    "engine": Entry("Do", "Pools of units, and the tasks that use them"),
    "entity": Entry("Do", "What runs out there: wake it, rest it, put it right"),
    "cache": Entry("Do", "Values under names, kept here and readable with no network"),
    "offline": Entry("Do", "Work with no network, and catch up later"),
    "order": Entry("Do", "Place an order, and see what became of it"),
    "sense": Entry("Do", "Say what the sensors of a source show", "irerctl.screens.eil:sense"),
    "act": Entry("Do", "Ask for the action that costs least within bounds"),
    "call": Entry("Do", "Call any method and print its result as JSON", "irerctl.call:call"),
    "audit": Entry("Prove", "Check that no record was changed, lost or added", "irerctl.audit:audit"),
    "provenance": Entry("Prove", "What was reported, and what led to what"),
    "proof": Entry("Prove", "Put a prediction to the proof, once it is due"),
    "data": Entry("Science", "Texts that are near one another, and what comes of them"),
    "trajectory": Entry("Science", "Facts, rules, and the cheapest way to a goal", "irerctl.screens.trajectory:trajectory"),
    "hunt": Entry("Science", "Search for parameters of the field, and see what was found", "irerctl.screens.hunt:hunt"),
    "sim": Entry("Science", "Compute a field, and see what it looks like", "irerctl.screens.sim:sim"),
    "component": Entry("Science", "Analyses of computed fields, and what they found"),
    "eil": Entry("Science", "Predictions from sensors, and a self-test of all of it", "irerctl.screens.eil:eil"),
    "control": Entry("Set up", "Which programs may do what, where, right now"),
    "backup": Entry("Set up", "Copy the whole state of the daemon into one file", "irerctl.backup:backup"),
    "restore": Entry("Set up", "Make a state directory from such a file", "irerctl.backup:restore"),
    "hub": Entry("Set up", "Serve HTTP, and a page to watch and act on", "irerctl.hub.command:hub"),
    "mcp": Entry("Set up", "Let an AI agent look, and do what you let it", "irerctl.mcp.command:mcp"),
    "bus": Entry("Set up", "Carry samples and events to and from MQTT or Kafka", "irerctl.bus.command:bus"),
    "doctor": Entry("Set up", "Examine this machine and say what to repair", "irerctl.doctor:doctor"),
    "bugreport": Entry("Set up", "Collect what a report of a fault needs into one file", "irerctl.bugreport:bugreport"),
    "reload": Entry("Set up", "Make the daemon read its configuration again", "irerctl.about:reload"),
    "api": Entry("Set up", "List and describe every method", "irerctl.api:api"),
    "version": Entry("Set up", "Versions of this program and of the daemon", "irerctl.about:version"),
    "completion": Entry("Set up", "Let the Tab key complete commands and names", "irerctl.completion:completion"),
    "bridge": Entry("Set up", "What irerctl -H runs on the other machine", "irerctl.bridge:bridge"),
    "help": Entry("Set up", "Explain a word or a command", "irerctl.about:help_"),
}
