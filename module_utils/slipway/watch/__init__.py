# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of itself while it runs: checks, alerts, metrics, the watch after a release."""
