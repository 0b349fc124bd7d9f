"""The guide: it names the tenant's own values, and values stay text."""

from __future__ import annotations

import re

import pytest

from sidecar.model.tenant import Cloud
from sidecar.onboarding.kit import KitValues, build_kit
from sidecar.onboarding.markdown import markdown_text
from tests.support.powershell.grammar import is_powershell
from tests.unit.onboarding.values import APPLICATION, DIRECTORY, NASTY, make_kit


def test_guide_names_directory_application_rooms_and_script() -> None:
    kit = make_kit(application_id=APPLICATION)
    for value in (DIRECTORY, APPLICATION, "room1", kit.script_name, "login.microsoftonline.com"):
        assert value in kit.guide


def test_guide_for_a_tenant_without_application_says_that_the_script_makes_one() -> None:
    guide = make_kit(application_id=None).guide
    assert "made by the script: `Exchange sidecar acme`" in guide
    assert "-ApplicationId ID" in guide


def test_guide_for_another_cloud_names_its_hosts() -> None:
    guide = make_kit(cloud=Cloud.US_GOVERNMENT).guide
    assert "login.microsoftonline.us" in guide
    assert "login.microsoftonline.com" not in guide


def test_guide_for_china_tells_of_the_application_to_sign_in_with() -> None:
    assert "-SignInApplicationId" in make_kit(cloud=Cloud.CHINA).guide
    assert "-SignInApplicationId" not in make_kit().guide


def test_guide_without_rooms_says_how_to_name_them() -> None:
    assert "-Room 'room1@example.com', 'room2@example.com'" in make_kit(mailboxes=()).guide


def test_guide_with_many_rooms_shows_some_and_the_script_holds_all() -> None:
    kit = make_kit(mailboxes=tuple(f"room{number}@x.example" for number in range(1_000)))
    assert "and 800 more" in kit.guide
    assert kit.script.count("@x.example'") == 1_000


def test_room_given_in_two_spellings_is_one_room() -> None:
    kit = make_kit(mailboxes=("Room@x.example", "room@X.example", "other@x.example"))
    assert kit.mailboxes == ("Room@x.example", "other@x.example")


def test_no_place_is_left_unfilled() -> None:
    assert "@{" not in make_kit().guide


@pytest.mark.parametrize("text", NASTY)
def test_nasty_display_name_adds_no_structure_to_the_guide(text: str) -> None:
    plain, nasty = (make_kit(display_name=name).guide.splitlines() for name in ("x", text))
    assert len(nasty) == len(plain)
    assert [line for line in nasty if line not in plain] == [
        line for line in nasty if "administrators of" in line and line not in plain
    ]


@pytest.mark.parametrize("text", NASTY)
def test_escaped_text_has_no_live_punctuation_and_one_line(text: str) -> None:
    escaped = markdown_text(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>|#&!]", escaped)
    assert escaped.isprintable()


def test_commands_in_the_guide_are_powershell() -> None:
    blocks = re.findall(r"```powershell\n(.*?)```", make_kit().guide, re.DOTALL)
    assert len(blocks) == 6
    assert all(is_powershell(block) for block in blocks)


def test_parameters_in_the_guide_exist_in_the_script() -> None:
    kit = make_kit()
    block = kit.script.partition("[CmdletBinding")[2].partition("Set-StrictMode")[0]
    known = {f"-{name}" for name in re.findall(r"\] \$(\w+)", block)} | {"-WhatIf"}
    calls = re.findall(r"^ *\.\\exchange-sidecar-acme\.ps1 (.*)$", kit.guide, re.MULTILINE)
    named = {word for call in calls for word in call.split() if word.startswith("-")}
    named |= set(re.findall(r"`(-[A-Z]\w+)", kit.guide))
    assert named
    assert named - known == set()


def test_kit_holds_no_more_rooms_than_given() -> None:
    values = KitValues(
        tenant_id="acme", display_name="", directory_id=DIRECTORY, cloud=Cloud.GLOBAL, application_id=None, mailboxes=[]
    )
    assert build_kit(values).mailboxes == ()
