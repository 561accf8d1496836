"""The documented list of reasons: words for programs, as fine as is known."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # without fault
        "ok": "Everything asked for was found.",
        "not_configured": "The source has no address, so nothing is asked.",
        "drained": "An operator has taken it out of service.",
        "pending": "The first probe has not finished yet.",
        "no_readers": "The inference server answers, and serves no model yet.",
        "loading": "The server answers and is still loading.",
        "some_dead": "Some parts live and some are dead.",
        "dead": "The server says that this part is dead: its heartbeat is overdue.",
        "all_dead": "Every part is dead.",
        "busy": "The server answers, and all of its slots are taken.",
        "no_key": "The store answers, and holds nothing under the configured key.",
        "null_status": "The inference server answers with `status: null`, whose meaning is not documented.",
        "assume_connected": "Shown as connected because the configuration says so; the probe disagrees or did not run.",
        "mocked": "The mock plugin is configured to say so.",
        "legacy_ws": "Shown as connected because `legacy_ws_url` is set; nothing was probed.",
        # the way to the upstream
        "timeout": "No complete answer within the probe's timeout.",
        "refused": "The connection was refused: nothing listens there.",
        "unreachable": "No route to the host, or the network is down.",
        "name_not_resolved": "The host name could not be resolved.",
        "tls_failed": "The TLS handshake failed: certificate, name or protocol.",
        "connection_lost": "The connection broke before the answer was complete.",
        "permission_denied": "The operating system refused access to a socket, file or process.",
        "not_found": "A file, socket, process or program does not exist.",
        # what the upstream said
        "unauthorized": "The upstream wants other credentials (401, 403, NOAUTH, WRONGPASS).",
        "http_error": "The upstream answered with a status code that means failure.",
        "redirect": "The upstream answered with a redirect, which probes never follow.",
        "unavailable": "The upstream answers, and says that it is not available (503).",
        "bad_json": "The body is not valid JSON, or not one JSON object.",
        "unexpected_answer": "The answer is well-formed, and not what the configuration or the protocol expects.",
        "protocol_error": "The answer breaks the protocol: another kind of server listens there.",
        "too_large": "The answer is over a size limit.",
        "wrong_type": "The key holds another type than a hash.",
        "bad_value": "A value is missing or makes no sense; a default stands in for it.",
        "not_listed": "The server answers and does not list this model.",
        "not_connected": "The server lists this model as not connected.",
        "missing": "Something required is missing.",
        "failed": "A command or unit is in a failed state.",
        "sandboxed": "The sandbox of statusd's own unit hides it, so nothing is known about it.",
        # statusd's own verdicts
        "stale": "The last report is older than its lifetime.",
        "plugin_failed": "The plugin raised an exception.",
        "plugin_missing": "No installed distribution provides this plugin.",
        "plugin_disabled": "The plugin is disabled in the configuration.",
        "plugin_blocked": "A blocking probe has not returned since its timeout.",
        "bad_report": "The plugin returned something that is not a report.",
        "report_too_large": "The plugin returned a report over the limits.",
        "secret_unreadable": "A secret that the source needs could not be read.",
        "config_fault": "Something that the configuration names outside the sources is missing or unreadable.",
        "token_unavailable": "The token that clients must show is not there, so none of them gets in.",
        "certificate_unusable": "The new certificate cannot be used; the one before stays in use.",
        "certificate_expired": "The certificate of the daemon's own addresses has expired.",
        "certificate_not_yet_valid": "The certificate of the daemon's own addresses is not valid yet.",
        "certificate_expires_soon": "The certificate of the daemon's own addresses is about to expire.",
        "loop_blocked": "A task kept the event loop from running.",
        "state_set_aside": "What was kept of the last run could not be used, and was set aside.",
        "state_not_kept": "What stands cannot be written down, so a restart would lose it.",
        "view_failed": "A view of this plugin raised; its last good document is still served.",
        "nothing_counts": "Nothing below this node takes part in its rollup.",
        "too_few": "Fewer children take part in the rollup than its rule `at_least(n)` wants.",
        "parent_down": "A source that this one depends on is down, so nothing is known here.",
    }
)
"""Reason -> what it means. Plugins may use further lower_snake_case words of their own."""
