"""Java programs from Maven Central: the right Java, and a class path resolved once per version."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

# Cassandra 5.0 runs on 11 and 17 only, Kafka 4.2 on 17 and later.
JAVA_VERSION = 17
# Pinned: without a version Maven asks the repository for the newest at every run.
_CLASSPATH_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath"
# A first download of both servers is about 130 MB.
_RESOLVE_LIMIT_S = 900.0


class ResolveError(Exception):
    """Maven could not resolve a server; the text is what Maven said."""


class Artifact(NamedTuple):
    group: str
    name: str
    version: str
    excluded_groups: tuple[str, ...] = ()


def find_java() -> Path | None:
    """A Java 17 binary: JAVA_HOME, the usual places, PATH. The default `java` is often another version."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    homes += sorted(Path("/usr/lib/jvm").glob("*"))
    if on_path := shutil.which("java"):
        homes.append(Path(on_path).resolve().parent.parent)
    for home in homes:
        if _major_version(home) == JAVA_VERSION and (home / "bin/java").exists():
            return home / "bin/java"
    return None


def cache_directory() -> Path:
    """Where resolved artifacts stay between clusters. Deleting it costs one download."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "sluice"


def classpath(name: str, artifacts: tuple[Artifact, ...], java: Path) -> str:
    """The class path of a server with all it depends on, downloaded at the first call. Raises ResolveError."""
    pom = _pom(name, artifacts)
    key = f"{name}-{artifacts[0].version}-{hashlib.sha256(pom.encode()).hexdigest()[:12]}"
    directory = cache_directory() / "classpaths" / key
    directory.mkdir(parents=True, exist_ok=True)
    result = directory / "classpath.txt"
    # Two clusters that start at once must not write into one Maven repository together.
    with (cache_directory() / "maven.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_complete(result):
            _resolve(directory, pom, result, java)
    return result.read_text().strip()


def _resolve(directory: Path, pom: str, result: Path, java: Path) -> None:
    (directory / "pom.xml").write_text(pom)
    fresh = result.with_suffix(".new")
    run = subprocess.run(
        [
            "mvn",
            "-q",
            "-B",
            f"-Dmaven.repo.local={cache_directory() / 'maven'}",
            "-DincludeScope=runtime",
            f"-Dmdep.outputFile={fresh}",
            _CLASSPATH_GOAL,
        ],
        cwd=directory,
        env=os.environ | {"JAVA_HOME": str(java.parent.parent)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_RESOLVE_LIMIT_S,
        check=False,
    )
    if run.returncode != 0 or not _is_complete(fresh):
        raise ResolveError(f"Maven could not resolve {directory.name}:\n{run.stdout}{run.stderr}")
    fresh.replace(result)


def _is_complete(result: Path) -> bool:
    return result.exists() and all(Path(jar).exists() for jar in result.read_text().strip().split(":"))


def _pom(name: str, artifacts: tuple[Artifact, ...]) -> str:
    return f"""<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>sluice.local</groupId><artifactId>{name}</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
{"".join(_dependency(artifact) for artifact in artifacts)}  </dependencies>
</project>
"""


def _dependency(artifact: Artifact) -> str:
    exclusions = "".join(
        f"<exclusion><groupId>{group}</groupId><artifactId>*</artifactId></exclusion>"
        for group in artifact.excluded_groups
    )
    return (
        f"    <dependency><groupId>{artifact.group}</groupId><artifactId>{artifact.name}</artifactId>"
        f"<version>{artifact.version}</version><exclusions>{exclusions}</exclusions></dependency>\n"
    )


def _major_version(home: Path) -> int | None:
    try:
        release = (home / "release").read_text()
    except OSError:
        return None
    found = re.search(r'^JAVA_VERSION="(\d+)', release, re.MULTILINE)
    return int(found.group(1)) if found else None
