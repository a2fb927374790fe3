"""What can be known to go wrong before a server starts: engine, flags, model, port."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from evals import JOBS
from launchers.machine.flags import FlagCheckFailed, installed_version, parsed_flags
from launchers.machine.host import probe
from launchers.models import MODELS, ModelFolderError, find_prepared
from launchers.server.ports import port_taken
from pipeline.experiment.local_data import counted_questions
from pipeline.experiment.model import Experiment
from pipeline.plan.equal_arms import equal_arms
from pipeline.plan.model import Plan
from pipeline.power import JobBasis, impossible_gates, replicate_notes

__all__ = ["Preflight", "preflight"]


@dataclass(kw_only=True)
class Preflight:
    """Findings in full sentences.

    Attributes:
        wrong: The plan can run nowhere; even ``plan`` refuses it.
        impossible: Whether ``wrong`` holds a gate that can never fire or never pass.
        missing: The plan cannot run here and now; ``plan`` only notes it, ``run`` refuses.
        notes: What was not checked, and why; and what the number of launches cannot show.
        repeats: Arms that run what an earlier arm runs once SGLang's defaults are filled in, as
            :func:`pipeline.plan.equal_arms.equal_arms` gives them; empty where SGLang could not be
            asked.
    """

    wrong: list[str] = field(default_factory=list)
    impossible: bool = False
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    repeats: dict[str, str] = field(default_factory=dict)

    def known(self, plan: Plan) -> Plan:
        """The plan with what was found of its arms."""
        return plan.model_copy(update={"repeats": {**plan.repeats, **self.repeats}})


def preflight(
    plan: Plan,
    experiment: Experiment,
    *,
    say: Callable[[str], None] = lambda _: None,
    allow_impossible: bool = False,
) -> Preflight:
    """Look at everything that the plan needs of this machine; starts no server.

    Args:
        plan: The plan.
        experiment: What it was made from.
        say: Told before something slow.
        allow_impossible: Only note a gate that can never fire or never pass.
    """
    found = Preflight(notes=replicate_notes(experiment))
    impossible = _impossible(experiment)
    if allow_impossible:
        found.notes += impossible
    else:
        found.wrong += impossible
        found.impossible = bool(impossible)
    _check_model(plan, experiment, found)
    _check_port(plan, found)
    for name, settings in experiment.jobs.items():
        found.missing += [f"jobs.{name}.{text}" for text in JOBS[settings.kind].missing(settings)]
    if plan.engine == "sglang":
        _check_engine(plan, experiment, found, say)
    return found


def _impossible(experiment: Experiment) -> list[str]:
    """Gates that can never do their work: a run of them costs GPU hours and decides nothing."""
    basis = {
        name: JobBasis(questions=count) for name, count in counted_questions(experiment).items()
    }
    return impossible_gates(experiment, basis)


def _check_model(plan: Plan, experiment: Experiment, found: Preflight) -> None:
    if plan.engine == "fake":
        return
    if experiment.model.prepare is not None:
        try:
            find_prepared(experiment.model.prepare)
        except ModelFolderError as error:
            found.missing.append(str(error))
        return
    _check_folder("model.path", plan.model.path, found)
    if plan.model.tokenizer != plan.model.path:
        _check_folder("model.tokenizer", plan.model.tokenizer, found)


def _check_folder(key: str, path: str, found: Preflight) -> None:
    """A model or a tokenizer: a folder that is there, or what can be a hub name."""
    what = key.partition(".")[2].replace("path", "model")
    needed = "config.json" if key == "model.path" else "tokenizer_config.json"
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / needed).is_file():
            found.missing.append(f"{key}: {path} holds no {needed}; is it a {what}'s folder?")
    elif path.startswith((".", "/", "~")) or path.count("/") != 1:
        made = f", or model.prepare: {' or '.join(MODELS)}" if key == "model.path" else ""
        found.missing.append(
            f"{key}: there is no folder {path}; give a {what}'s folder or a hub name such as "
            f"org/name{made}"
        )
    else:
        found.notes.append(f"{key}: {path} is taken for a hub name; it was not looked up")


def _check_plugins(plan: Plan, found: Preflight) -> None:
    """Each plugin that an arm names must be there, once: SGLang only logs one that it cannot find.

    Two distributions may use one name; SGLang then loads whichever it sees last.
    """
    paths = {launch.env.get("PYTHONPATH", ""): launch for launch in plan.launches}
    for path in paths:
        told = probe(plan.python, {"PYTHONPATH": path} if path else {})
        if told.problem:
            found.missing.append(f"server.plugins: {told.problem}")
            return
        there = Counter(
            plugin["name"] for plugin in told.plugins if plugin["group"] == "sglang.srt.plugins"
        )
        named = {
            name: launch.arm
            for launch in plan.launches
            if launch.env.get("PYTHONPATH", "") == path
            for name in launch.env["SGLANG_PLUGINS"].split(",")
            if name != "none"
        }
        for name, arm in named.items():
            if there[name] != 1:
                what = "is not installed" if there[name] == 0 else f"is there {there[name]} times"
                found.missing.append(
                    f"arms.{arm}: SGLang plugin {name} {what} for {plan.python}; see doctor"
                )


def _check_port(plan: Plan, found: Preflight) -> None:
    for host, port in {(launch.host, launch.port) for launch in plan.launches}:
        if port is None:
            continue
        owner = port_taken(port)
        if owner is not None:
            found.missing.append(
                f"server.port: {host}:{port} is taken by {owner}; stop that, or set server.port: "
                "null for any free port"
            )


def _check_engine(
    plan: Plan, experiment: Experiment, found: Preflight, say: Callable[[str], None]
) -> None:
    python = experiment.engine.python
    installed = installed_version(python)
    if python is not None and shutil.which(Path(python).expanduser()) is None:
        found.missing.append(f"engine.python: there is no interpreter {python}")
        found.notes.append("server flags were not checked, since there is no SGLang to ask")
        return
    if installed is None:
        found.missing.append(
            "engine: SGLang is not installed for "
            f"{plan.python}; install servegate[engine], point engine.python to an interpreter that "
            "has it, or try the experiment with --engine fake"
        )
        found.notes.append("server flags were not checked, since there is no SGLang to ask")
        return
    if installed != plan.engine_version:
        found.missing.append(
            f"engine.version: the plan's flags are for SGLang {plan.engine_version}, but "
            f"{installed} is installed; set engine.version: {installed}, or install the other"
        )
        found.notes.append("server flags were not checked, since SGLang's version is another")
        return
    _check_plugins(plan, found)
    say("asking SGLang's own parser about the server flags")
    # Launches of one arm and layout differ in nothing that is parsed.
    commands = {tuple(launch.argv): launch.id for launch in reversed(plan.launches)}
    lists = [[part.replace("{port}", "1") for part in argv[3:]] for argv in commands]
    try:
        answers = parsed_flags(plan.python, lists)
    except FlagCheckFailed as error:
        found.missing.append(str(error))
        return
    for launch_id, answer in zip(commands.values(), answers, strict=True):
        if answer.refused:
            found.wrong.append(
                f"launch {launch_id}: SGLang {installed} refuses its flags: {answer.refused}"
            )
    if not found.wrong:
        arguments = [answer.arguments for answer in answers]
        found.repeats = equal_arms(plan, dict(zip(commands, arguments, strict=True)))
