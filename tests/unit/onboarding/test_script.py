"""The script as a text: it is PowerShell, it uses what Microsoft documents, and nothing of ours becomes code.

PowerShell itself cannot be had from the registries, so a grammar reads the script (decision 0020), and test_script_runs.py
carries it out.
"""

from __future__ import annotations

import re

import pytest
from tree_sitter import Node

from sidecar.graph.clouds import endpoints_of
from sidecar.model.tenant import Cloud
from sidecar.onboarding.addresses import admin_addresses_of
from sidecar.onboarding.kit import fits_into_a_kit
from sidecar.settings import GraphSettings
from tests.support.powershell.cmdlets import BUILT_IN, MICROSOFT, READING_VERBS
from tests.support.powershell.grammar import arguments_of, find, function_of, inner, name_of, parse, text_of, walk
from tests.unit.onboarding.values import APPLICATION, NASTY, make_kit

AUTOMATIC = {"_", "null", "true", "false", "pscmdlet", "host", "erroractionpreference"}
"""Variables that PowerShell sets."""


def commands(root: Node) -> list[Node]:
    return list(find(root, "command"))


def functions(root: Node) -> set[str]:
    return {text_of(next(find(node, "function_name"))) for node in find(root, "function_statement")}


def shape(node: Node) -> list[str]:
    """Return the kinds of all nodes, in order: the code without its texts."""
    return [found.type for found in walk(node)]


def test_script_is_powershell() -> None:
    parse(make_kit().script)


def test_script_is_printable_ascii_so_that_no_editor_or_download_changes_it() -> None:
    script = make_kit(display_name="Büro", mailboxes=tuple(f"{text}@x.example" for text in NASTY)).script
    assert re.fullmatch(r"[ -~\n]*", script)


@pytest.mark.parametrize("text", NASTY)
def test_nasty_value_leaves_the_code_as_it_is(text: str) -> None:
    plain = make_kit(display_name="x", mailboxes=("room@x.example",)).script
    nasty = make_kit(display_name=text, mailboxes=(f"{text}@x.example",)).script
    root = parse(nasty)
    after = "$Schema ="
    assert nasty.partition(after)[2] == plain.partition(after)[2]
    assert nasty.partition("$Kit")[0] == plain.partition("$Kit")[0]
    rooms = next(node for node in find(root, "hash_entry") if text_of(node).startswith("Rooms"))
    assert not list(find(rooms, "command", "variable", "sub_expression", "expandable_string_literal", "comment"))


def test_only_the_table_of_values_differs_between_tenants() -> None:
    one = make_kit(tenant_id="acme", mailboxes=("a@x.example",)).script
    other = make_kit(
        tenant_id="Other.Tenant",
        application_id=APPLICATION,
        cloud=Cloud.CHINA,
        mailboxes=("b@y.example", "c@y.example"),
    ).script
    table = re.compile(r"^\$Kit = @\{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
    assert table.sub("", one) == table.sub("", other)


def test_every_command_is_known_and_takes_only_documented_parameters() -> None:
    root = parse(make_kit().script)
    own = functions(root)
    for command in commands(root):
        name = name_of(command)
        if not name:
            assert text_of(command).startswith("& $Action")
            continue
        if name in own:
            continue
        known = {**MICROSOFT, **BUILT_IN}
        assert name in known, f"{name} is not in the list of cmdlets"
        for argument in arguments_of(command):
            if argument.name == "@":
                for key in splatted(argument.value, command):
                    assert key in known[name], f"{name} -{key}"
            elif argument.name == "ErrorAction":
                assert argument.value is not None
                assert text_of(argument.value) == "Stop"
            else:
                assert (argument.name or "0") in known[name], f"{name} -{argument.name}"


def splatted(value: Node | None, command: Node) -> set[str]:
    """Return the keys a splatted variable can have: those of its literal, and those set one by one, in the same function."""
    assert value is not None
    name = text_of(value).removeprefix("@")
    above: Node | None = command
    while above is not None and above.type not in {"function_statement", "program"}:
        above = above.parent
    assert above is not None
    keys = set()
    for assignment in find(above, "assignment_expression"):
        left = text_of(assignment.children[0])
        if left == f"${name}":
            keys |= {text_of(entry.children[0]) for entry in find(assignment, "hash_entry")}
        elif left.startswith(f"${name}."):
            keys.add(left.removeprefix(f"${name}."))
    assert keys, f"nothing is assigned to ${name}"
    return keys


def test_every_listed_cmdlet_is_used_so_that_the_list_stays_true() -> None:
    used = {name_of(command) for command in commands(parse(make_kit().script))}
    assert set(MICROSOFT) - used == set()


def test_every_call_to_microsoft_stops_at_an_error() -> None:
    """Functions of modules do not see a script's $ErrorActionPreference, so each call says so itself."""
    silent = {"Disconnect-MgGraph", "Disconnect-ExchangeOnline", "Get-MgContext", "Get-ConnectionInformation"}
    for command in commands(parse(make_kit().script)):
        if name_of(command) in set(MICROSOFT) - silent:
            assert "ErrorAction" in {argument.name for argument in arguments_of(command)}, text_of(command)


def test_every_change_at_microsoft_waits_for_should_process() -> None:
    for command in commands(parse(make_kit().script)):
        name = name_of(command)
        if name in MICROSOFT and name.partition("-")[0] not in READING_VERBS:
            assert is_guarded(command), f"{name} in {function_of(command)}"


def is_guarded(command: Node) -> bool:
    """Tell whether a command runs only after ShouldProcess said yes: inside such an if, or after a return for no."""
    above: Node | None = command
    while above is not None and above.type != "function_statement":
        if above.type in {"if_statement", "elseif_clause"} and "ShouldProcess" in condition_of(above):
            return True
        before = above.prev_sibling
        while before is not None:
            if "if (-not $Caller.ShouldProcess(" in text_of(before) and "return" in text_of(before):
                return True
            before = before.prev_sibling
        above = above.parent
    return False


def condition_of(node: Node) -> str:
    return text_of(node).partition("{")[0]


def test_every_variable_is_assigned_somewhere_before_it_is_read() -> None:
    root = parse(make_kit().script)
    known = set(AUTOMATIC)
    for node in find(root, "variable"):
        if is_parameter(node) or (node.parent is not None and node.parent.type == "foreach_statement"):
            known.add(text_of(node).lower().removeprefix("$"))
    for assignment in find(root, "assignment_expression"):
        left = inner(assignment.children[0])
        if left.type == "variable":
            known.add(text_of(left).lower().removeprefix("$"))
    used = {re.sub(r"^[$@]", "", text_of(node).lower()) for node in find(root, "variable")}
    assert used - known == set()


def test_strings_that_expand_hold_no_value_of_ours_but_in_messages() -> None:
    """A value inside double quotes is safe in PowerShell, but not in a filter; those go through ConvertTo-FilterText."""
    for command in commands(parse(make_kit().script)):
        for argument in arguments_of(command):
            if argument.name in {"Filter", "RecipientRestrictionFilter"} and argument.value is not None:
                text = text_of(argument.value)
                assert text == "$filter" or "$(ConvertTo-FilterText " in text


def test_secret_goes_to_the_console_or_the_named_file_and_nowhere_else() -> None:
    root = parse(make_kit().script)
    uses = [node for node in find(root, "member_access") if text_of(node).endswith(".SecretText")]
    assert len(uses) == 2
    statements = {re.sub(r"\s+", " ", text_of(statement(node))) for node in uses}
    assert statements == {
        "$bytes = [System.Text.Encoding]::ASCII.GetBytes($made.SecretText)",
        "[System.Console]::WriteLine($made.SecretText)",
    }


def statement(node: Node) -> Node:
    while node.parent is not None and node.parent.type not in {
        "statement_list",
        "statement_block",
        "script_block_body",
    }:
        node = node.parent
    return node


def test_parameters_are_all_explained() -> None:
    script = make_kit().script
    root = parse(script)
    block = next(find(root, "param_block"))
    taken = {text_of(node).removeprefix("$") for node in find(block, "variable") if is_parameter(node)}
    assert taken == set(re.findall(r"^\.PARAMETER (\w+)$", script, re.MULTILINE))


def is_parameter(node: Node) -> bool:
    return node.parent is not None and node.parent.type == "script_parameter"


@pytest.mark.parametrize("tenant_id", ["a", "x" * 63, "A.b~c_d", "...", "acme-" * 12 + "a"])
def test_names_fit_into_what_exchange_takes(tenant_id: str) -> None:
    script = make_kit(tenant_id=tenant_id).script
    for entry in ("GroupName", "CalendarsAssignment", "SettingsAssignment", "ApplicationName"):
        match = re.search(rf"^    {entry} = '([A-Za-z0-9 -]+)'$", script, re.MULTILINE)
        assert match is not None
        assert len(match[1]) <= (50 if entry == "GroupName" else 64)  # Exchange adds 14 characters to a group's


def test_rooms_that_fit_make_a_script_of_a_bounded_size() -> None:
    usual = [f"{'x' * 40}{number}@contoso.example" for number in range(10_000)]
    assert fits_into_a_kit(usual)
    assert not fits_into_a_kit([*usual, "one@contoso.example"])
    foreign = [f"{'é-' * 10}{number}@contoso.example" for number in range(5_000)]
    assert fits_into_a_kit(foreign)
    assert not fits_into_a_kit(foreign * 2)
    assert len(make_kit(mailboxes=tuple(foreign)).script) < 3 * 1024 * 1024


def test_names_of_different_tenants_differ() -> None:
    ids = ["acme", "Acme", "ac.me", "ac-me", "a" * 40, "a" * 41]
    names = {make_kit(tenant_id=tenant_id).script_name for tenant_id in ids}
    assert len(names) == len(ids)


@pytest.mark.parametrize("cloud", list(Cloud))
def test_addresses_of_a_cloud_are_those_that_the_service_uses(cloud: Cloud) -> None:
    addresses, endpoints = admin_addresses_of(cloud), endpoints_of(cloud, GraphSettings())
    assert endpoints.login_url == f"https://{addresses.login_host}"
    assert endpoints.graph_url == f"https://{addresses.graph_host}/v1.0"
