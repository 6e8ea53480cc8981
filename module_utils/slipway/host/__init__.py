# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host does and keeps: the store, the switch, the history, the exchanges."""
