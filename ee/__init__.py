# SPDX-License-Identifier: GPL-3.0-or-later
"""The execution environment: the image that AWX, ansible-navigator and ansible-runner run these playbooks in (execution-environment.yml)."""
