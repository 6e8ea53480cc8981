# SPDX-License-Identifier: GPL-3.0-or-later
"""Foundations that know nothing of releases: refusals, time, files, commands, strict JSON."""
