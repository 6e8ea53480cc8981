# SPDX-License-Identifier: GPL-3.0-or-later
"""Capistrano as Debian has it. The hosts have no git, so the files come as one archive, by a small plugin for its `scm`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence

from ..hosts import Target
from . import Tool, Unavailable

CAPFILE = """require "capistrano/setup"
require "capistrano/deploy"
require "capistrano/scm/plugin"

# One archive, made here, sent to each host and unpacked there (-m: the times of directories say which release is older).
class Archive < Capistrano::SCM::Plugin
  def define_tasks
    plugin = self
    namespace :archive do
      task :create_release do
        on release_roles(:all), in: :parallel do
          execute :mkdir, "-p", release_path
          upload! fetch(:archive), "#{release_path}.tar.gz"
          execute :tar, "-xzmf", "#{release_path}.tar.gz", "-C", release_path
          execute :rm, "#{release_path}.tar.gz"
        end
      end
      task :set_current_revision do
        set :current_revision, fetch(:wanted)
      end
      task :pack do
        run_locally { execute :tar, "-C", fetch(:source), "-czf", fetch(:archive), "." }
      end
    end
  end

  def register_hooks
    before "deploy:new_release_path", "archive:pack"
    after "deploy:new_release_path", "archive:create_release"
    before "deploy:set_current_revision", "archive:set_current_revision"
  end
end
install_plugin Archive
"""
DEPLOY = """lock "~> 3.17"
set :application, "bench"
set :deploy_to, %(base)s
set :wanted, ENV["WANTED"]
set :source, ENV["SOURCE"]
set :archive, %(archive)s
set :keep_releases, 5
set :format_options, log_file: nil

namespace :bench do
  task :serve do
    on(roles(:app), in: :parallel) { execute ENV["SERVE"] }
  end
end
after "deploy:published", "bench:serve"
"""


class Capistrano(Tool):
    name = "capistrano"
    port = 18105

    def version(self) -> str:
        if not shutil.which("cap"):
            raise Unavailable("not installed: python3 -m lab install capistrano ruby-ed25519 ruby-bcrypt-pbkdf")
        done = subprocess.run(["cap", "--version"], capture_output=True, text=True, check=True)
        return done.stdout.split()[2]

    def prepare(self, hosts: Sequence[Target]) -> None:
        super().prepare(hosts)
        names = {"base": json.dumps(self.base), "archive": json.dumps(str(self.place / "release.tar.gz"))}
        (self.place / "config/deploy").mkdir(parents=True, exist_ok=True)
        (self.place / "Capfile").write_text(CAPFILE)
        (self.place / "config/deploy.rb").write_text(DEPLOY % names)

    def deploy(self, hosts: Sequence[Target], release: str) -> None:
        self._cap(hosts, "deploy", release)

    def rollback(self, hosts: Sequence[Target]) -> None:
        self._cap(hosts, "deploy:rollback", "one")

    def _cap(self, hosts: Sequence[Target], task: str, release: str) -> None:
        lines = [
            f"server {json.dumps(host.address)}, user: {json.dumps(host.user)}, roles: %w[app]\n" for host in hosts
        ]
        reached = [
            "config: false",
            f"keys: [{json.dumps(hosts[0].key)}]",
            f"user_known_hosts_file: [{json.dumps(hosts[0].known_hosts)}]",
            "verify_host_key: :always",
            "forward_agent: false",
        ]
        stage = "".join(lines) + f"set :ssh_options, {', '.join(reached)}\n"
        (self.place / "config/deploy/prod.rb").write_text(stage)
        self.bench.run(
            ["cap", "prod", task],
            directory=self.place,
            WANTED=release,
            SOURCE=str(self.bench.source(release)),
            SERVE=self.served(release),
            LC_ALL=os.environ.get("LC_ALL", "C.UTF-8"),
        )
