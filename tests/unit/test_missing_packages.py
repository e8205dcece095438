"""What the machine lacks is named at once, with the command that brings it."""

import pytest

from deploy.local import jvm, packages


def test_everything_that_is_missing_is_named_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jvm, "find_java", lambda: None)
    monkeypatch.setattr(packages, "find_postgres", lambda: None)
    monkeypatch.setattr(packages.shutil, "which", lambda _: None)
    with pytest.raises(packages.MissingError) as caught:
        packages.require()
    for word in ("Java 17", "Maven", "PostgreSQL", "apt-get install", "openjdk-17-jre-headless", "maven", "postgresql"):
        assert word in str(caught.value)
