# SPDX-License-Identifier: GPL-3.0-or-later
"""Being here, this file puts the repository's root on the path of every test, so that `import lab` finds the lab."""
