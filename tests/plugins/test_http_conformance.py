"""What every source type owes the daemon, held by `http` and `local`."""

from __future__ import annotations

import pytest

from statusd import Context, Secret, Url
from statusd.testing import FakeCompleted, FakeContext, FakeResponse
from statusd.testing.conformance import check_source
from statusd.testing.hostile import garbage
from statusd_plugins.http import HttpHealthSource
from statusd_plugins.http_presets import PRESETS
from statusd_plugins.local import LocalSource

BY_CODE_ALONE = {"triton", "kserve"}
"""Documented so: their health endpoints have no body to look at."""
ANY_200 = [name for name, kind in garbage().items() if kind.http.status == 200]
URL = Url.parse("http://user-name:pass-word@127.0.0.1:9")


@pytest.mark.parametrize("preset", PRESETS)
async def test_every_preset_keeps_the_contract(preset, autojump_clock):
    def make(context: Context) -> HttpHealthSource:
        return HttpHealthSource(
            context=context, url=Url.parse("http://x"), preset=preset, api_key=Secret("key-of-mine")
        )

    await check_source(make, models=("m",), allow=ANY_200 if preset in BY_CODE_ALONE else ())


async def test_a_source_that_reads_everything_keeps_the_contract(autojump_clock):
    def make(context: Context) -> HttpHealthSource:
        return HttpHealthSource(
            context=context,
            url=URL,
            path="/health",
            status_pointer="/status",
            facts={"version": "/version"},
            models_path="/models",
        )

    def answers(context: FakeContext) -> None:
        context.http.answers["/health"] = FakeResponse(200, b'{"status":"ok","version":"1"}')
        context.http.answers["/models"] = FakeResponse(200, b'{"data":[{"id":"m"}]}')

    await check_source(make, models=("m",), answers=answers)


async def test_local_keeps_the_contract(autojump_clock):
    def make(context: Context) -> LocalSource:
        return LocalSource(
            context=context,
            python="/opt/venv/bin/python",
            modules=["quicktalk"],
            unit="quicktalk.service",
            command=["nvidia-smi", "-L"],
        )

    def answers(context: FakeContext) -> None:
        context.commands["/opt/venv/bin/python"] = FakeCompleted(0, b'{"quicktalk": true}')
        context.commands["systemctl"] = FakeCompleted(0, b"LoadState=loaded\nActiveState=active\n")
        context.commands["nvidia-smi"] = FakeCompleted(0)

    await check_source(make, models=("quicktalk",), answers=answers)
