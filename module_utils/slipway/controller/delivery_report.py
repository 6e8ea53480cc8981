# SPDX-License-Identifier: GPL-3.0-or-later
"""The measures of deliveries told: as a table for a terminal, and as one page of HTML that needs nothing else.

Both are made of what `delivery_measures.History.as_dict` says, which is the JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..base.errors import Refusal
from ..base.files import write_durable
from ..base.table import table

History = Mapping[str, Any]
HEAD: Final = (
    "application", "environment", "week", "type", "changes", "deployments a week", "success", "failure", "lead time", "time to restore",
)  # fmt: skip
CHANGES_SHOWN: Final = 20
NONE: Final = "no deployment switched anything in that time"


def duration(seconds: int | None) -> str:
    """About how long: 45 s, 12 min, 5.5 h, 3.1 d; "-" for nothing."""
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 2 * 3600:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"


def percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.0f} %"


def restored(measure: Mapping[str, Any]) -> str:
    """How long it took, and how many failures are not restored."""
    missing = f"{measure['not_restored']} not restored" if measure["not_restored"] else ""
    known = duration(measure["time_to_restore_seconds"])
    return known if not missing else missing if known == "-" else f"{known}, {missing}"


def cells(measure: Mapping[str, Any]) -> tuple[str, ...]:
    """A measure as the columns of HEAD."""
    return (
        measure["application"], measure["environment"], measure["week"], measure["release_type"], str(measure["changes"]),
        f"{measure['deployments_per_week']:g}", percent(measure["success_rate"]), percent(measure["change_failure_rate"]),
        duration(measure["lead_time_seconds"]), restored(measure),
    )  # fmt: skip


def ending(change: Mapping[str, Any]) -> str:
    """How a change ended, in words."""
    if not change["failed"]:
        return "succeeded"
    failed = "failed" if change["ended"] else "cut off"
    return f"{failed}, restored {change['restored']}" if change["restored"] else f"{failed}, not restored"


def told(history: History) -> str:
    """The measures, the newest changes, and the runs without an end."""
    lines = [f"from {history['since']} to {history['until']}"]
    lines.append(table(HEAD, [cells(each) for each in history["measures"]]) if history["measures"] else NONE)
    newest = list(reversed(history["changes"]))[:CHANGES_SHOWN]
    if newest:
        head = ("ended", "application", "environment", "release", "type", "by", "how", "hosts")
        rows = [
            (
                each["ended"] or "-", each["application"], each["environment"], each["release_id"] or "-", each["release_type"], each["deployed_by"],
                ending(each), _hosts(each),
            )
            for each in newest
        ]  # fmt: skip
        lines += ["", table(head, rows)]
    if history["unended"]:
        lines.append(f"\nwithout an end yet, and in no measure: {', '.join(history['unended'])}")
    return "\n".join(lines)


def _hosts(change: Mapping[str, Any]) -> str:
    """The hosts with their regions; one that was not confirmed with how it ended."""
    return ", ".join(_host(host) for host in change["hosts"])


def _host(host: Mapping[str, Any]) -> str:
    where = f" in {host['region']}" if host["region"] else ""
    how = "" if host["outcome"] == "confirmed" else f" ({host['outcome']})"
    return f"{host['name']}{where}{how}"


# Nothing is loaded from anywhere (the policy in its head forbids it), and nothing in it runs.
PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Deliveries from {{ history.since }} to {{ history.until }}</title>
<style>
:root { --paper: #fff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --good: #116329; --bad: #a40e26; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181d; --ink: #e6edf3; --soft: #a3adb8; --line: #3d444d; --good: #56d364; --bad: #ff7b72; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 80rem; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
p, dd { margin: 0 0 .5rem; color: var(--soft); }
dt { font-weight: 600; }
.wide { overflow-x: auto; }
.wide:focus-visible { outline: 2px solid currentColor; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .25rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
time { white-space: nowrap; }
thead th { white-space: nowrap; }
.good { color: var(--good); }
.bad { color: var(--bad); font-weight: 600; }
@media print {
  :root { --paper: #fff; --ink: #000; --soft: #333; --line: #999; --good: #000; --bad: #000; }
  body { padding: 0; max-width: none; font-size: 9pt; }
  .wide { overflow: visible; }
  thead { display: table-header-group; }
  tr { break-inside: avoid; }
}
</style>
</head>
<body>
<header>
<h1>Deliveries</h1>
<p>From <time datetime="{{ history.since }}">{{ history.since }}</time> to <time datetime="{{ history.until }}">{{ history.until }}</time>.</p>
</header>
<main>
<section aria-labelledby="measures">
<h2 id="measures">Measures</h2>
{% if rows %}
<div class="wide" role="region" aria-labelledby="measures" tabindex="0">
<table>
<caption>For each application and environment: of all weeks first, then of each week. Redeployments are in no row of all types.</caption>
<thead><tr>{% for name in head %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table>
</div>
{% else %}<p>{{ none }}.</p>
{% endif %}</section>
<section aria-labelledby="changes">
<h2 id="changes">Changes</h2>
{% if changes %}
<div class="wide" role="region" aria-labelledby="changes" tabindex="0">
<table>
<caption>Every deployment that switched a host or may have, the newest first.</caption>
<thead><tr><th scope="col">ended</th><th scope="col">application</th><th scope="col">environment</th><th scope="col">release</th>
<th scope="col">type</th><th scope="col">by</th><th scope="col">how</th><th scope="col">hosts</th></tr></thead>
<tbody>
{% for each in changes %}<tr><th scope="row">{% if each.ended %}<time datetime="{{ each.ended }}">{{ each.ended }}</time>{% else %}-{% endif %}</th><td>{{ each.application }}</td>\
<td>{{ each.environment }}</td><td>{{ each.release_id or '-' }}</td><td>{{ each.release_type }}</td><td>{{ each.deployed_by }}</td>\
<td class="{{ 'bad' if each.failed else 'good' }}">{{ each.how }}</td><td>{{ each.told_hosts }}</td></tr>
{% endfor %}</tbody>
</table>
</div>
{% else %}<p>None.</p>
{% endif %}{% if history.unended %}<p>Without an end yet, and in no measure: {{ history.unended | join(', ') }}.</p>
{% endif %}</section>
<section aria-labelledby="words">
<h2 id="words">What the words mean</h2>
<dl>
<dt>Change</dt><dd>A deployment that switched at least one host, or was cut off and may have.</dd>
<dt>Redeployment</dt><dd>A deployment of the release that its hosts served already, as where secrets are rotated. It is a type of its own, in no row of \
all types.</dd>
<dt>Deployments a week</dt><dd>Changes that did not fail, for each week.</dd>
<dt>Failure</dt><dd>The share of changes that did not end as asked, were cut off, or that a rollback was begun for later, whether that went well or \
not. Success is the rest.</dd>
<dt>Lead time</dt><dd>The median time from when a release was made to the end of its first deployment that ended as asked.</dd>
<dt>Time to restore</dt><dd>The median time from the beginning of a failure until every host that it left ill, or that was to \
go back from it, served something good again.</dd>
</dl>
</section>
</main>
</body>
</html>
"""


def page(history: History) -> str:
    """One HTML page. Every word of it that somebody else chose is escaped."""
    from jinja2 import Environment, StrictUndefined

    changes: Sequence[Mapping[str, Any]] = [
        {**each, "how": ending(each), "told_hosts": _hosts(each)} for each in reversed(history["changes"])
    ]
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(PAGE)
    rows = [cells(each) for each in history["measures"]]
    return template.render(history=history, head=HEAD, rows=rows, changes=changes, none=NONE)


def write_page(path: Path, history: History, *, check: bool = False) -> bool:
    """Write the page to a file that only this user can read; whether that changes it. Refusal ``report_unwritable``."""
    data = page(history).encode("utf-8")
    try:
        if path.is_file() and path.read_bytes() == data:
            return False
        if not check:
            write_durable(path, data, mode=0o600)
    except OSError as error:
        raise Refusal(
            "report_unwritable",
            expected=f"a file at {path} that can be written",
            found=error.strerror or str(error),
            remedy="Name a file in a directory that this user may write to.",
        ) from error
    return True
