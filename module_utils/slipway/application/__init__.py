# SPDX-License-Identifier: GPL-3.0-or-later
"""What an application says of itself: its unit, probes, configuration, commands."""
