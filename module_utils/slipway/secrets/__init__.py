# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not be known: names for it, where it is kept, and who asked for it. Never travels to hosts."""
