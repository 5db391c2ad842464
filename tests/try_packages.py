"""Try the built wheel and sdist in empty environments: ``python tests/try_packages.py dist``.

It is no test of pytest, because it installs packages. Each step prints what it tries, and the first
one that fails ends it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
# What `pip install oauthcc` brings, with the dependencies of these.
BASE = {"oauthcc", "requests", "requests-oauthlib", "oauthlib", "urllib3", "certifi", "idna"}
BASE |= {"charset-normalizer"}
VARIABLES = {
    "OAUTH_TOKEN_URL": "https://as.example/token",
    "OAUTH_CLIENT_ID": "my-id",
    "OAUTH_CLIENT_SECRET": "my-secret",
    "OAUTH_API_URL": "https://api.example",
}
PATCHED = "import requests; requests.PreparedRequest.prepare_hooks.__wrapped__"
CONSUMER = """\
import requests

from oauthcc import ClientCredentialsSession, Token, TokenObtained, fetch_token
from oauthcc.stores import MemoryStore


def observe(event: object) -> None:
    if isinstance(event, TokenObtained):
        print(event.why)


def orders(api: ClientCredentialsSession) -> int:
    answer: requests.Response = api.get("https://api.example/orders", timeout=10)
    return answer.status_code


session = ClientCredentialsSession.from_env(store=MemoryStore(), on_event=observe)
token: Token = fetch_token("https://as.example/token", "my-id", "my-secret")
expires: float | None = token.expires_at
"""
WRONG = (
    "from oauthcc import ClientCredentialsSession\n\nClientCredentialsSession.from_env(scop='a')\n"
)


class Environment:
    """A new virtual environment without any package but pip."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True, clear=True)
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        self.folder = folder

    def run(self, *command: str, status: int = 0, given: str = "") -> str:
        """Run a program of the environment elsewhere, and return what it printed."""
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.folder,
            env={**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, **VARIABLES},
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        printed = done.stdout + done.stderr
        if done.returncode != status:
            sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{printed}")
        return printed

    def install(self, *requirements: str) -> None:
        self.run("python", "-m", "pip", "install", "--quiet", *requirements)
        self.run("python", "-m", "pip", "check")

    def example(self, path: str) -> None:
        """Run an example without the variables, which would name a server elsewhere."""
        names = (
            "import os, runpy, sys; [os.environ.pop(k) for k in list(os.environ) if 'OAUTH' in k]"
        )
        script = f"{names}; runpy.run_path({str(EXAMPLES / path)!r}, run_name='__main__')"
        assert self.run("python", "-I", "-W", "error", "-c", script).strip(), path

    def packages(self) -> set[str]:
        listed = self.run("python", "-m", "pip", "list", "--format=freeze").splitlines()
        names = {
            line.partition("==")[0].lower().replace("_", "-") for line in listed if "==" in line
        }
        return names - {"pip", "setuptools", "wheel"}


def try_alone(environment: Environment, package: Path) -> None:
    environment.install(str(package))
    extra = environment.packages() - BASE
    assert not extra, f"{package.name} brings {extra}"
    environment.example("quickstart.py")
    environment.example("errors.py")


def try_extras(environment: Environment, wheel: Path) -> None:
    """Add one extra after the other, and run what needs it."""
    steps = {
        "jwt": ["private_key.py", "dpop.py"],
        "file": ["processes.py"],
        "redis": ["redis_store.py"],
    }
    for extra, examples in steps.items():
        environment.install(f"{wheel}[{extra}]")
        for example in examples:
            environment.example(example)
    environment.install(f"{wheel}[cli]")
    environment.run("oauthcc", "demo", "--quick")
    environment.run("oauthcc", "run", "-", given=PATCHED)


def try_plugin(environment: Environment, wheel: Path) -> None:
    environment.install(str(wheel), "pytest")
    tests = EXAMPLES / "testing"
    printed = environment.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests))
    assert " passed" in printed, printed


def try_types(environment: Environment, wheel: Path) -> None:
    """Check a program of a user with both type checkers; a misspelled option must be an error."""
    environment.install(str(wheel), "mypy", "pyright[nodejs]", "types-requests")
    for name, code, status in (("consumer.py", CONSUMER, 0), ("wrong.py", WRONG, 1)):
        (environment.folder / name).write_text(code, encoding="utf-8")
        environment.run("python", "-m", "mypy", "--strict", name, status=status)
        python = str(environment.bin / "python")
        environment.run("python", "-m", "pyright", "--pythonpath", python, name, status=status)


if __name__ == "__main__":
    (built_wheel,) = Path(sys.argv[1]).resolve().glob("*.whl")
    (built_sdist,) = Path(sys.argv[1]).resolve().glob("*.tar.gz")
    for title, attempt, built in (
        ("the wheel alone", try_alone, built_wheel),
        ("the sdist alone", try_alone, built_sdist),
        ("the wheel with each extra", try_extras, built_wheel),
        ("the plugin of pytest", try_plugin, built_wheel),
        ("a typed program", try_types, built_wheel),
    ):
        with TemporaryDirectory() as place:
            attempt(Environment(Path(place)), built)
        print(f"{title}: works")
