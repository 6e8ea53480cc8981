# SPDX-License-Identifier: GPL-3.0-or-later
"""What is signed, how it is read, and the one place that says whether it may be believed."""
