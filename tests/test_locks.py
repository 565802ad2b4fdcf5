"""The lock files: every requirement, all that it needs in turn, with digests, for every platform that is promised."""

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

LOCKS = (
    "requirements",
    "requirements-gpu",
    "requirements-dev",
    "requirements-oracles",
    "requirements-engines",
    "requirements-film",
    "requirements-tiff",
    "requirements-tour",
    "requirements-app",
)
PLATFORMS = {
    "Linux x86-64": ("linux", "Linux", "x86_64"),
    "Linux aarch64": ("linux", "Linux", "aarch64"),
    "macOS arm64": ("darwin", "Darwin", "arm64"),
    "Windows AMD64": ("win32", "Windows", "AMD64"),
}
PYTHONS = ("3.11", "3.12", "3.13")


def environment(platform: str, python: str) -> dict[str, str]:
    system, name, machine = PLATFORMS[platform]
    return {
        "sys_platform": system, "platform_system": name, "platform_machine": machine, "python_version": python,
        "python_full_version": f"{python}.1", "os_name": "nt" if system == "win32" else "posix", "extra": "",
    }  # fmt: skip


def required(name: str) -> list[Requirement]:
    """The lines of a requirements file."""
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]


def locked(name: str) -> list[tuple[Requirement, list[str]]]:
    """The requirements of a lock file, with their digests."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    rows = [line.split(" --hash=") for line in text.splitlines() if line.strip()]
    return [(Requirement(row[0]), [digest.strip() for digest in row[1:]]) for row in rows]


def pins(name: str, given: dict[str, str]) -> dict[str, str]:
    """Package -> version of a lock on one platform."""
    chosen = [r for r, _ in locked(name) if r.marker is None or r.marker.evaluate(given)]
    found = {canonicalize_name(r.name): str(r.specifier) for r in chosen}
    assert len(found) == len(chosen), "a package is pinned twice"
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_is_pinned_with_digests(name):
    for requirement, digests in locked(f"{name}.lock"):
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert digests, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in digests), requirement


@pytest.mark.parametrize("name", LOCKS)
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_locks_are_of_the_requirements(name, platform, python):
    given = environment(platform, python)
    wanted = [r for r in required(f"{name}.txt") if r.marker is None or r.marker.evaluate(given)]
    pinned = pins(f"{name}.lock", given)
    assert {canonicalize_name(r.name): str(r.specifier) for r in wanted}.items() <= pinned.items()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_one_tensorflow_on_every_machine(platform):
    """tensorflow-cpu has no wheels for Apple's arm64 nor for Linux on aarch64; tensorflow has both."""
    has_cpu_build = platform in ("Linux x86-64", "Windows AMD64")
    pinned = pins("requirements.lock", environment(platform, "3.12"))
    assert {n for n in pinned if n.startswith("tensorflow")} == {"tensorflow-cpu" if has_cpu_build else "tensorflow"}


def test_what_is_installed_asks_for_nothing_more():
    """All dependencies of what the lock pins, as the installed packages state them, are in the lock."""
    given = environment("Linux x86-64", "3.11")
    pinned = pins("requirements.lock", given)
    for name in pinned:
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # the CUDA build stands in its place
            continue
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate(given):
                assert canonicalize_name(need.name) in pinned, f"{name} needs {need}"


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_page_changes_no_package_of_the_others(platform, python):
    given = environment(platform, python)
    ours, theirs = pins("requirements.lock", given), pins("requirements-app.lock", given)
    assert {name: theirs[name] for name in ours.keys() & theirs} == {name: ours[name] for name in ours.keys() & theirs}


def test_the_engines_come_without_telemetry():
    assert {canonicalize_name(requirement.name) for requirement, _ in locked("requirements-engines.lock")} == {
        "openvino"
    }
