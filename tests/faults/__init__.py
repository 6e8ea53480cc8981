# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults at every point: what dies, fails, fills up or loses power anywhere leaves a host that the next exchange settles."""
