"""Runs measurements: every system in turn, round after round, and one sample per measurement, system and round."""

import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import machine, processes
from .measurements import Measurement
from .systems import Site, System


@dataclass
class Settings:
    binaries: Path
    rounds: int = 3
    core: int = 1
    loadgen_core: int = 0
    seconds: float | None = None   # shorter windows than the measurements' own
    deadline: float | None = None  # time.monotonic() at which no further sample is started
    keep: bool = False             # the folders with configurations and logs


@dataclass
class Results:
    samples: list[dict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stopped_early: bool = False


class Runner:
    def __init__(self, settings: Settings):
        self.settings = settings
        self.results = Results()
        self._folder = Path()
        self._started = time.monotonic()
        self._done = 0
        self._todo = 0

    def run(self, systems: list[System], measurements: list[Measurement]) -> Results:
        plan = [(number, system, delay, chosen)
                for number in range(self.settings.rounds)
                for system in systems
                for delay, chosen in self._by_start(system, measurements, number)]
        self._todo = sum(len(chosen) for *_, chosen in plan)
        self._folder = Path(tempfile.mkdtemp(prefix="qanat-perf-"))
        self._folder.chmod(0o755)  # systems change to other users
        try:
            for number, system, delay, chosen in plan:
                if self._out_of_time():
                    break
                self._run_system(number, system, delay, chosen)
        finally:
            processes.end_all([])
            if not self.settings.keep:
                shutil.rmtree(self._folder, ignore_errors=True)
        return self.results

    def _out_of_time(self) -> bool:
        if self.settings.deadline is not None and time.monotonic() > self.settings.deadline:
            self.results.stopped_early = True
        return self.results.stopped_early

    @staticmethod
    def _by_start(system: System, measurements: list[Measurement], number: int) -> list[tuple[float, list[Measurement]]]:
        """What can be measured on one start of the system, and the delay that start needs."""
        chosen = [one for one in measurements
                  if (number == 0 or not one.first_round_only) and one.streams <= system.streams_max
                  and (not system.only or one.name in system.only)]
        together = [one for one in chosen if not one.fresh]
        delays = sorted({one.delay_ms for one in together})
        starts = [(delay, [one for one in together if one.delay_ms == delay]) for delay in delays]
        return starts + [(one.delay_ms, [one]) for one in chosen if one.fresh]

    def _run_system(self, number: int, system: System, delay: float, chosen: list[Measurement]) -> None:
        settings = self.settings
        folder = Path(tempfile.mkdtemp(prefix=f"{system.name}-", dir=self._folder))
        folder.chmod(0o755)
        site = Site(folder, settings.binaries, settings.core, settings.loadgen_core, delay / 2)
        try:
            try:
                via = system.start(site)
            except (processes.StartFailure, OSError, ValueError, machine.subprocess.SubprocessError) as why:
                self._problem(f"{system.name} did not start: {why}")
                self._done += len(chosen)
                return
            time.sleep(0.1)
            for measurement in chosen:
                if self._out_of_time():
                    return
                self._sample(number, system, site, via, measurement)
        finally:
            site.close()

    def _sample(self, number: int, system: System, site: Site, via: str, measurement: Measurement) -> None:
        settings = self.settings
        possible = processes.streams_possible() - 100
        fewer = ["--streams", possible] if measurement.streams > possible else []
        accounts = [part for label, process in site.roots for part in ("--account", f"{label}={process.pid}")]
        command = [settings.binaries / "qanat-loadgen", "client", "--via", via, "--target", f"127.0.0.1:{site.target}",
                   "--serve", f"127.0.0.1:{site.target}", "--core", settings.loadgen_core, "--timeout", 30,
                   *accounts, *measurement.loadgen_arguments(settings.seconds), *fewer]
        began = time.monotonic()
        output, problem = {}, ""
        try:
            done = processes.run_on(settings.loadgen_core, command, 150)
            output = json.loads(done.stdout) if done.stdout.strip() else {}
            if done.returncode != 0:
                problem = output.get("first_failure") or done.stderr.strip()[-300:] or f"status {done.returncode}"
        except processes.subprocess.TimeoutExpired:
            problem = "the load generator did not end"
        except json.JSONDecodeError:
            problem = "the load generator's output is no JSON"
        self._done += 1
        sample = {"system": system.name, "measurement": measurement.name, "round": number, "ok": not problem,
                  "others": others(output, settings.core), "result": output}
        if problem:
            sample["problem"] = problem
            self._problem(f"{system.name}, {measurement.name}, round {number + 1}: {problem}")
        self.results.samples.append(sample)
        self._progress(number, system, measurement, sample, time.monotonic() - began)

    def _problem(self, text: str) -> None:
        self.results.problems.append(text)
        print(f"    ! {text}", file=sys.stderr, flush=True)

    def _progress(self, number: int, system: System, measurement: Measurement, sample: dict, took: float) -> None:
        figure = measurement.figures[0]
        found = value_of(sample, figure.path)
        shown = f"{figure.title} {found * figure.scale:.4g} {figure.unit}" if found is not None else "no figure"
        elapsed = time.monotonic() - self._started
        noise = f", other programs {sample['others']:.0%}" if sample["others"] > 0.1 else ""
        print(f"[{self._done}/{self._todo} {elapsed:4.0f} s] round {number + 1} {system.name:20} {measurement.name:16} "
              f"{shown}{noise} ({took:.1f} s)", file=sys.stderr, flush=True)


def others(output: dict, core: int) -> float:
    """The share of the systems' core that was used by programs that do not belong to the system (or was stolen)."""
    busy = output.get("core_busy_seconds", {}).get(str(core))
    wall = output.get("wall_seconds", 0)
    if busy is None or wall <= 0:
        return 0.0
    return max(0.0, min(1.0, (busy - output.get("cpu_seconds", 0)) / wall))


def value_of(sample: dict, path: str) -> float | None:
    value = sample["result"] if sample["ok"] else None
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return float(value)
