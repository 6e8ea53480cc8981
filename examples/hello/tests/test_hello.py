# SPDX-License-Identifier: GPL-3.0-or-later
"""The service at work: a copy of it on a free port. An audit runs these; they are not shipped."""

import hmac
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
SHIPPED = ("bin", "config.json", "static")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class HelloTest(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.release = Path(place.name) / "v1"
        self.release.mkdir()
        for name in SHIPPED:
            source = SOURCE / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, self.release / name)

    def configure(self, **changes):
        path = self.release / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    def check(self):
        command = [sys.executable, self.release / "bin/hello", "--check"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def serve(self, environment=None, **changes):
        """Start the service; it listens once its first line is there."""
        port = free_port()
        self.configure(port=port, **changes)
        command = [sys.executable, self.release / "bin/hello"]
        environment = {name: text.format(port=port) for name, text in (environment or {}).items()}
        if "PORT" in environment:
            self.configure(port=free_port())
        service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
        self.addCleanup(service.stdout.close)
        self.addCleanup(service.wait, 30)
        self.addCleanup(service.terminate)
        service.stdout.readline()
        return f"http://127.0.0.1:{port}"

    def get(self, url):
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def test_what_is_released_is_sound(self):
        assert self.check().returncode == 0

    def test_a_configuration_without_a_greeting_is_not(self):
        self.configure(greeting=None)
        assert self.check().returncode == 1

    def test_it_says_which_version_it_is(self):
        status, body = self.get(f"{self.serve()}/version")
        stated = json.loads((self.release / "config.json").read_text())["version"]
        assert (status, json.loads(body)["version"]) == (200, stated)

    def test_it_is_well(self):
        assert self.get(f"{self.serve()}/health")[0] == 200

    def test_it_says_when_it_is_ill(self):
        assert self.get(f"{self.serve(healthy=False)}/health")[0] == 503

    def test_an_instance_of_several_serves_on_the_port_that_it_is_given(self):
        url = self.serve(environment={"PORT": "{port}"})
        assert self.get(f"{url}/health")[0] == 200

    def test_a_port_that_is_none_is_refused(self):
        command = [sys.executable, self.release / "bin/hello", "--check"]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PORT": "80 80"}, check=False)
        assert (done.returncode, "PORT must be from 1 to 65535" in done.stderr) == (1, True)

    def test_it_proves_a_credential_without_showing_it(self):
        (self.release / "slipway_key").write_text("a secret")
        (self.release / "other").write_text("of somebody else")
        url = self.serve(environment={"CREDENTIALS_DIRECTORY": str(self.release)})
        status, body = self.get(f"{url}/proof?challenge={'0f' * 16}")
        expected = hmac.digest(b"a secret", b"0f" * 16, "sha256").hex()
        assert (status, json.loads(body)["proofs"]) == (200, {"key": expected})
        assert self.get(f"{url}/proof?challenge=a")[0] == 400

    def test_without_credentials_there_is_nothing_to_prove(self):
        status, body = self.get(f"{self.serve()}/proof?challenge={'0f' * 16}")
        assert (status, json.loads(body)["proofs"]) == (200, {})

    def test_an_empty_credential_is_refused(self):
        (self.release / "slipway_key").touch()
        command = [sys.executable, self.release / "bin/hello", "--check"]
        environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(self.release)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert (done.returncode, "key is empty" in done.stderr) == (1, True)

    def test_it_serves_its_page(self):
        status, body = self.get(self.serve())
        assert (status, body) == (200, (self.release / "static/index.html").read_bytes())

    def test_requests_are_counted_by_code_and_figures_are_those_of_the_configuration(self):
        address = self.serve(measures={"intraday_hit_ratio": 0.6})
        for path, code in (("/", 200), ("/none", 404), ("/health", 200)):
            assert self.get(f"{address}{path}")[0] == code
        status, body = self.get(f"{address}/metrics")[:2]
        lines = body.decode().splitlines()
        assert status == 200
        for line in (
            'http_requests_total{code="200"} 2',
            'http_requests_total{code="404"} 1',
            "http_request_duration_seconds_count 3",
            'http_request_duration_seconds_bucket{le="+Inf"} 3',
            "risk_enforcement_duration_seconds_count 4",
            "audit_log_write_errors_total 0",
            "circuit_breaker_trips_total 0",
            "hello_intraday_hit_ratio 0.6",
        ):
            assert line in lines

    def test_figures_that_are_no_numbers_are_refused(self):
        self.configure(measures={"intraday_hit_ratio": "0.6"})
        assert self.check().returncode == 1


if __name__ == "__main__":
    unittest.main()
