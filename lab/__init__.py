# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: real hosts (systemd, ssh) on one machine, made with podman and without any container registry.

It imports the standard library alone, so that `python3 -m lab up` works in a fresh clone before anything is installed.
An *instance* is one set of hosts with a network of its own; the default instance is `lab`, tests use others.
"""
