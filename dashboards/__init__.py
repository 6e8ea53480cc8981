# SPDX-License-Identifier: GPL-3.0-or-later
"""Grafana's dashboards as code: what they show is boards.py, how a panel is made panels.py. `python -m dashboards` writes them."""
