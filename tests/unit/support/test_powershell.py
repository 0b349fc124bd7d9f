"""The machine that carries scripts out: it goes wrong where PowerShell goes wrong, and knows what it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.powershell.microsoft import Microsoft
from tests.support.powershell.objects import NotModelled, PowerShellError, Value
from tests.support.powershell.window import Window


def run(script: str) -> list[Value]:
    return Window(Microsoft(), Path("/nowhere")).run(f"param()\n{script}")


@pytest.mark.parametrize(
    ("script", "output"),
    [
        ("function f { 'leak'\nreturn 'x' }\nf", ["leak", "x"]),
        ("function f { return @('only') }\n$x = f\n$x", ["only"]),
        ("function f { return @('only') }\n@(f).Count", [1]),
        ("function f { return @() }\n$x = f\n$null -eq $x", [True]),
        ("@($null).Count", [1]),
        ("foreach ($x in $null) { 'never' }", []),
        ("$l = New-Object -TypeName System.Collections.ArrayList\n$l.Add('x')", [0]),
        ("function f { $x = 2 }\n$x = 1\nf\n$x", [1]),
        ("function f { $x }\n$x = 'seen'\nf", ["seen"]),
        ("'a' -eq 'A'", [True]),
        ("@('A', 'b') -contains 'a'", [True]),
        ("$x = 'o''neil'\n\"<$x> $($x.Replace('''', '\"'))\"", ["<o'neil> o\"neil"]),
        ("try { throw 'bad' } catch { $_.Exception.Message }", ["bad"]),
        ("try { try { throw 'bad' } catch { throw } } catch { $_.Exception.Message }", ["bad"]),
        ("function f { try { return 1 } finally { 2 | Out-Null } }\nf", [1]),
        ("@(1, 2) | Where-Object { $_ -gt 1 }", [2]),
        ("$h = @{ a = 1; B = 2 }\n$h.b", [2]),
        ("('b' + [char] 0x00FC + 'ro')", ["büro"]),
    ],
)
def test_script_writes_what_powershell_writes(script: str, output: list[Value]) -> None:
    assert run(script) == output


def test_variable_that_nobody_set_is_an_error() -> None:
    with pytest.raises(PowerShellError, match="has not been set"):
        run("$missing")


@pytest.mark.parametrize(
    "script",
    ["$x = [math]::Pi", "switch (1) { 1 { 2 } }", "$x = 1\n$x += 1", "'{0}' -f 1", '"a`nb"', "while ($true) { }"],
)
def test_part_of_the_language_that_is_not_played_fails_the_test(script: str) -> None:
    with pytest.raises(NotModelled):
        run(script)


def test_script_that_is_no_powershell_is_refused_with_a_line() -> None:
    with pytest.raises(AssertionError, match=r"^line "):
        run("if (")


def test_parameter_that_a_cmdlet_does_not_have_is_an_error() -> None:
    with pytest.raises(PowerShellError, match="parameter name 'Nonsense'"):
        Microsoft().run("Get-Mailbox", {"Nonsense": 1})
