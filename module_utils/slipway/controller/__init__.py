# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller decides and makes: evidence, releases, plans, reports. Never sent to hosts."""
