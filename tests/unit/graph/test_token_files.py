"""Token files: only what lies in the folder is read, whatever a path or a link says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import TokenFileUnusable
from sidecar.graph.token_files import read_token_file
from sidecar.model.token_path import token_path
from tests.support.builders import CANARY

TOKEN = "e30.e30.c2ln"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that is allowed, with a token in it."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "token").write_text(f"{TOKEN}\n")
    return folder


def cause_of(folder: Path | None, given: str) -> str:
    """Return why a file is refused."""
    with pytest.raises(TokenFileUnusable) as refused:
        read_token_file(folder, given)
    assert CANARY not in str(refused.value) + str(refused.value.details)
    return refused.value.details["cause"]


def test_token_is_read_as_it_is_now(folder: Path) -> None:
    assert read_token_file(folder, "token") == TOKEN
    (folder / "token").write_text("e30.e30.bmV3")
    assert read_token_file(folder, str(folder / "token")) == "e30.e30.bmV3"


def test_links_inside_the_folder_are_followed(folder: Path) -> None:
    (folder / "..1").mkdir()
    (folder / "..1" / "mounted").write_text(TOKEN)
    (folder / "..data").symlink_to("..1")
    (folder / "mounted").symlink_to("..data/mounted")
    assert read_token_file(folder, "mounted") == TOKEN


def test_link_out_of_the_folder_is_not_followed(folder: Path) -> None:
    (folder.parent / "secret").write_text(TOKEN)
    (folder / "link").symlink_to("../secret")
    (folder / "up").symlink_to("..")
    assert "leads out" in cause_of(folder, "link")
    assert "leads out" in cause_of(folder, "up/secret")


def test_ring_of_links_is_refused(folder: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    assert cause_of(folder, "a")


def test_what_is_no_file_with_a_token_is_refused_without_being_quoted(folder: Path) -> None:
    (folder / "text").write_text(CANARY)
    (folder / "large").write_text(f"{'a' * 20_000}.b.c")
    (folder / "binary").write_bytes(b"\xff\xfe.\x00.x")
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe")
    assert "JWT" in cause_of(folder, "text")
    assert "JWT" in cause_of(folder, "large")
    assert "JWT" in cause_of(folder, "binary")
    assert cause_of(folder, "sub")
    assert "not a file" in cause_of(folder, "pipe")
    assert "No such file" in cause_of(folder, "missing")


def test_without_a_folder_nothing_is_read(folder: Path) -> None:
    assert "settings name no folder" in cause_of(None, str(folder / "token"))


@given(st.text(alphabet="./ab\n\0~ä", max_size=20))
def test_path_is_inside_the_folder_or_none(given: str) -> None:
    folder = Path("/run/tokens")
    path = token_path(folder, given)
    assert path is None or os.path.commonpath([folder, os.path.normpath(path)]) == str(folder)
    assert path is None or path != folder
