"""A daemon that reloads its configuration, seen from outside: what becomes of each reload, and what the daemon takes."""

from __future__ import annotations

import collections
import json
import random
import re
import signal
import subprocess
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from asking import Connection, LostError, until
from configurations import LASTING, Configuration, Surroundings, plain
from processes import HOST, console_script, descriptors, resident, threads
from statusd.outcome import Outcome, monotonic, read

OUTCOME: Final = 20.0
"""Seconds that a reload may take."""
SETTLE: Final = 12.0
"""Seconds after which what a reload left behind has ended; trio keeps a thread that has nothing to do for 10 s."""
WORDS: Final = re.compile(r"[a-z0-9_-]+")
"""Names of sources in a message, among other words."""
NICE: Final = 19
"""Of `statusd reload`, so that starting it does not keep the clients waiting."""
COMMANDS: Final = 0.02
"""Share of reloads that the command makes."""
SEVERAL: Final = 0.05
"""Share of reloads that several signals at once make."""


@attrs.frozen(kw_only=True)
class Weight:
    """What a daemon takes.

    Attributes:
        memory: bytes of its resident set.
        threads: how many.
        descriptors: how many are open.
        tasks: how many its event loop has.
    """

    memory: int
    threads: int
    descriptors: int
    tasks: int


@attrs.define(eq=False, kw_only=True)
class Reloading:
    """A daemon that reloads.

    Attributes:
        daemon: its process.
        config: its file.
        outcomes: where it says what became of reloads.
        witness: where it says what its event loop does.
        around: what the files speak of.
        chance: decides.
        wrong: outcomes that should have been others, and addresses that did not answer.
        kinds: how many reloads there were, by what the file was.
        seconds: of each reload that was good, as the daemon says.
    """

    daemon: subprocess.Popen[bytes]
    config: Path
    outcomes: Path
    witness: Path
    around: Surroundings
    chance: random.Random
    wrong: list[str] = attrs.field(factory=list)
    kinds: collections.Counter[str] = attrs.field(factory=collections.Counter)
    seconds: list[float] = attrs.field(factory=list)

    async def reload(self, configuration: Configuration) -> None:
        """Have the daemon reload `configuration`, and see what becomes of it."""
        before = read(self.outcomes)
        if configuration.text is None:
            self.config.unlink(missing_ok=True)
        else:
            fresh = self.config.with_suffix(".new")
            fresh.write_bytes(configuration.text)
            fresh.replace(self.config)
        outcome = await self._outcome()
        self.kinds[configuration.kind] += 1
        if outcome.code != configuration.code:
            self.wrong.append(f"{configuration.kind}: {outcome.code} {outcome.messages}")
        elif outcome.ok:
            begun = {name for message in outcome.messages for name in WORDS.findall(message)} & set(LASTING)
            if begun:
                self.wrong.append(
                    f"{configuration.kind}: {', '.join(sorted(begun))} began anew: {outcome.messages}"
                )
            self.seconds.append(outcome.ended - outcome.began)
            await self._reach(configuration)
        if not outcome.ok and outcome.generation != before.generation:
            self.wrong.append(
                f"{configuration.kind}: generation {before.generation} became {outcome.generation}"
            )

    async def _outcome(self) -> Outcome:
        began, how = monotonic(), self.chance.random()
        if how < COMMANDS:
            command = [
                "nice",
                f"-n{NICE}",
                console_script(),
                "reload",
                "--runtime-directory",
                str(self.outcomes.parent),
            ]
            done = await trio.run_process(command, check=False, capture_stdout=True, capture_stderr=True)
            outcome = await self._awaited(began)
            if done.returncode != outcome.code:
                self.wrong.append(
                    f"statusd reload: {done.returncode} instead of {outcome.code}: {done.stderr!r}"
                )
            return outcome
        for _ in range(4 if how < COMMANDS + SEVERAL else 1):
            self.daemon.send_signal(signal.SIGHUP)
        return await self._awaited(began)

    async def _awaited(self, began: float) -> Outcome:
        await until(lambda: self._said(began) is not None, OUTCOME, "A reload")
        outcome = self._said(began)
        assert outcome is not None
        return outcome

    def _said(self, began: float) -> Outcome | None:
        if self.daemon.poll() is not None:
            raise SystemExit(f"The daemon is dead, exit code {self.daemon.returncode}.")
        found = read(self.outcomes)
        return found if found.began >= began else None

    async def _reach(self, configuration: Configuration) -> None:
        """Ask at every address of `configuration`."""
        for bind in configuration.binds:
            port = bind.removeprefix(f"{HOST}:")
            try:
                await Connection(int(port) if port.isdigit() else bind.removeprefix("unix:")).get(
                    "/health", is_last=True
                )
            except LostError as error:
                self.wrong.append(f"{bind}: {error}")

    async def weigh(self) -> Weight:
        """Return what the daemon takes with the plain configuration."""
        await self.reload(plain(self.around))
        await trio.sleep(SETTLE)  # what the configuration before had running has ended by then
        pid = self.daemon.pid
        return Weight(
            memory=resident(pid),
            threads=threads(pid),
            descriptors=descriptors(pid),
            tasks=self.witnessed()["tasks"],
        )

    def witnessed(self) -> dict[str, Any]:
        """Return what the event loop's witness wrote last."""
        found: dict[str, Any] = json.loads(self.witness.read_text(encoding="utf-8"))
        return found
