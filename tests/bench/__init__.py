# SPDX-License-Identifier: GPL-3.0-or-later
"""How long deployments take: `make bench`."""
