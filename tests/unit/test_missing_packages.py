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


def test_redis_is_named_to_who_asks_for_it_and_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.shutil, "which", lambda _: None)
    with pytest.raises(packages.MissingError) as caught:
        packages.require_redis()
    assert "apt-get install --yes redis-server" in str(caught.value)
    assert "maven" not in str(caught.value)
    with pytest.raises(packages.MissingError) as caught:
        packages.require()
    assert "redis" not in str(caught.value)


def test_the_service_that_comes_with_redis_is_ended_only_where_we_installed_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed: list[str] = []
    ran: list[list[str]] = []
    monkeypatch.setattr(packages.os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        packages.shutil, "which", lambda name: f"/usr/bin/{name}" if name == "apt-get" or installed else None
    )
    monkeypatch.setattr(packages, "_install", installed.extend)
    monkeypatch.setattr(packages.subprocess, "run", lambda argv, **_: ran.append(argv))
    packages.require_redis()
    assert installed == ["redis-server"]
    assert ran == [["service", "redis-server", "stop"], ["update-rc.d", "redis-server", "disable"]]
    packages.require_redis()
    assert len(ran) == 2
