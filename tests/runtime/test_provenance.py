"""The commit that results name is that of this package."""

import shutil
import subprocess

import pytest

from repre_lite.runtime import provenance


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_of_another_project_is_not_taken(tmp_path, monkeypatch):
    def git(*words):
        named = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", *named, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    package = tmp_path / "site-packages" / "provenance.py"
    package.parent.mkdir()
    package.touch()
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "x")
    monkeypatch.setattr(provenance, "__file__", str(package))
    assert provenance.git_commit() is None
    git("add", str(package))
    assert provenance.git_commit() == git("rev-parse", "HEAD").strip()
