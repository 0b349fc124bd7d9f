"""A PowerShell window: files, console, host, modules and the time, around a script that is carried out."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import datetime
from io import BufferedWriter
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.powershell.cmdlets import EXCHANGE, GRAPH
from tests.support.powershell.machine import Machine
from tests.support.powershell.microsoft import NOW, Microsoft
from tests.support.powershell.objects import (
    VOID,
    ArrayList,
    Bag,
    NotModelled,
    PowerShellError,
    Value,
    Version,
    is_true,
    items_of,
    to_text,
)

_MODULES = {
    "Microsoft.Graph.Authentication": "2.40.0",
    "Microsoft.Graph.Applications": "2.40.0",
    "ExchangeOnlineManagement": "3.10.1",
}


@dataclass
class Cmdlet:
    """$PSCmdlet: asks whether to go on, and knows the current folder."""

    window: Window


@dataclass
class Window:
    """One process. `transcript` is what went through the host, `console` what went past it."""

    microsoft: Microsoft
    folder: Path
    is_console: bool = True
    modules: dict[str, str] = field(default_factory=lambda: dict(_MODULES))
    transcript: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)
    connected: set[str] = field(default_factory=set)
    other_directories: tuple[str, ...] = ()
    signed_in_with: dict[str, Value] = field(default_factory=dict)
    what_if: bool = False

    def run(self, script: str, **parameters: Value) -> list[Value]:
        """Run a script here; WhatIf=True is the switch that every such script has.

        Raises:
            PowerShellError: it threw.
        """
        self.what_if = is_true(parameters.pop("WhatIf", False))
        return Machine(script, self).run(**parameters)

    # What the machine asks

    def variables(self) -> dict[str, Value]:
        """Return the automatic variables."""
        host = Bag.of(Name="ConsoleHost" if self.is_console else "Windows PowerShell ISE Host")
        return {"pscmdlet": Cmdlet(self), "host": host, "erroractionpreference": "Continue"}

    def command(self, name: str, arguments: dict[str, Value], incoming: list[Value]) -> list[Value]:
        """Run a cmdlet."""
        if name in {"Connect-MgGraph", "Connect-ExchangeOnline"}:
            return self._connect(name, arguments)
        if name in {"Disconnect-MgGraph", "Disconnect-ExchangeOnline"}:
            self.connected.discard(name.removeprefix("Disconnect-"))
            return []
        if name == "Get-MgContext":
            return [Bag.of(TenantId=self.microsoft.directory)]
        if name == "Get-ConnectionInformation":
            return [Bag.of(TenantID=directory) for directory in (*self.other_directories, self.microsoft.directory)]
        for cmdlets, link in ((GRAPH, "MgGraph"), (EXCHANGE, "ExchangeOnline")):
            if name in cmdlets:
                if link not in self.connected:
                    raise PowerShellError(f"{name}: not connected")
                return self.microsoft.run(name, arguments)
        return self._built_in(name, arguments, incoming)

    def call(self, target: Value, name: str, given: list[Value]) -> Value:
        """Call a method."""
        if isinstance(target, Cmdlet):
            return self._ask(*map(to_text, given))
        if isinstance(target, Path) and name == "GetUnresolvedProviderPathFromPSPath":
            return str(target / to_text(given[0]))
        if isinstance(target, ArrayList):
            return self._call_list(target, name, given)
        if isinstance(target, BufferedWriter):
            if name == "Write":
                content, start, length = given
                assert isinstance(content, bytes)
                assert isinstance(start, int)
                assert isinstance(length, int)
                target.write(content[start : start + length])
            else:
                target.close()
            return VOID
        if isinstance(target, datetime):
            return self._call_time(target, name, given)
        if isinstance(target, str) and not target.startswith("["):
            return self._call_text(target, name, given)
        return self._call_type(to_text(target), name, given)

    def member(self, target: Value, name: str) -> Value:
        """Read a property."""
        match target, name:
            case Cmdlet(), "SessionState":
                return Bag.of(Path=self.folder)
            case "[System.Console]", "IsOutputRedirected":
                return False
            case "[System.Text.Encoding]", "ASCII":
                return "[ascii]"
            case _:
                raise NotModelled(f"{target}.{name}")

    # Cmdlets that are no module's

    def _connect(self, name: str, given: dict[str, Value]) -> list[Value]:
        link = name.removeprefix("Connect-")
        self.signed_in_with = {key: value for key, value in given.items() if key != "ErrorAction"}
        self.connected.add(link)
        return [Bag.of(Welcome="to Microsoft")]

    def _built_in(self, name: str, given: dict[str, Value], incoming: list[Value]) -> list[Value]:
        match name:
            case "Write-Host":
                self.transcript.append(to_text(given["0"]))
                return []
            case "Write-Output":
                return [given["0"]]
            case "Out-Null" | "Set-StrictMode":
                return []
            case "Get-Module":
                return self._module(to_text(given["Name"]), is_listing="ListAvailable" in given)
            case "Import-Module":
                self.loaded.add(to_text(given["Name"]))
                return []
            case "Sort-Object":
                return sorted(incoming, key=_version_of, reverse="Descending" in given)
            case "Select-Object":
                count = given["First"]
                assert isinstance(count, int)
                return incoming[:count]
            case "Start-Sleep":
                self.microsoft.seconds_slept += int(to_text(given["Seconds"]))
                return []
            case "Get-Date":
                return [NOW]
            case "Test-Path":
                return [(self.folder / to_text(given["LiteralPath"])).exists()]
            case "Remove-Item":
                (self.folder / to_text(given["LiteralPath"])).unlink()
                return []
            case "Get-Content":
                return [(self.folder / to_text(given["LiteralPath"])).read_text("utf-8-sig")]
            case "ConvertFrom-Json":
                return [_from_json(json.loads(to_text(incoming[0])))]
            case "ConvertTo-Json":
                return [json.dumps(_to_json(given["InputObject"], int(to_text(given["Depth"]))), indent=2)]
            case "New-Object":
                return [self._make(to_text(given["TypeName"]), given.get("ArgumentList"))]
        raise PowerShellError(f"The term '{name}' is not recognized as the name of a cmdlet.")

    def _module(self, name: str, *, is_listing: bool) -> list[Value]:
        if not is_listing:
            return [Bag.of(Name=name)] if name in self.loaded else []
        return [Bag.of(Name=name, Version=Version.parse(self.modules[name]))] if name in self.modules else []

    def _make(self, type_name: str, argument: Value) -> Value:
        match type_name:
            case "System.Collections.ArrayList":
                return ArrayList()
            case "System.Text.UTF8Encoding":
                assert argument is False
                return Bag.of(Name="utf-8")
            case "System.Security.Cryptography.X509Certificates.X509Certificate2":
                certificate = x509.load_pem_x509_certificate(Path(to_text(argument)).read_bytes())
                return Bag.of(RawData=certificate.public_bytes(Encoding.DER), HasPrivateKey=False)
        raise NotModelled(type_name)

    # Methods

    def _ask(self, target: str, action: str) -> bool:
        if self.what_if:
            self.transcript.append(f'What if: Performing the operation "{action}" on target "{target}".')
        return not self.what_if

    def _call_list(self, target: ArrayList, name: str, given: list[Value]) -> Value:
        if name == "Add":
            target.items.append(given[0])
            return len(target.items) - 1
        if name == "ToArray":
            return list(target.items)
        raise NotModelled(f"ArrayList.{name}")

    def _call_time(self, target: datetime, name: str, given: list[Value]) -> Value:
        match name, given:
            case "ToUniversalTime", []:
                return target
            case "AddMonths", [int(months)]:
                return target.replace(
                    year=target.year + (target.month - 1 + months) // 12, month=(target.month - 1 + months) % 12 + 1
                )
            case "ToString", ["s"]:
                return target.strftime("%Y-%m-%dT%H:%M:%S")
        raise NotModelled(f"DateTime.{name}")

    def _call_text(self, target: str, name: str, given: list[Value]) -> Value:
        match name, given:
            case "Replace", [str(before), str(after)]:
                return target.replace(before, after)
            case "ToLowerInvariant", []:
                return target.lower()
            case "Contains", [str(part)]:
                return part in target
        raise NotModelled(f"String.{name}")

    def _call_type(self, target: str, name: str, given: list[Value]) -> Value:
        match target, name, given:
            case "[System.IO.File]", "WriteAllText", [str(path), str(text), _]:
                Path(path).write_bytes(text.encode())
                return VOID
            case "[System.IO.File]", "Open", [str(path), "CreateNew", "Write"]:
                return Path(path).open("xb")
            case "[System.Console]", "WriteLine", [str(text)]:
                self.console.append(text)
                return VOID
            case "[ascii]", "GetBytes", [str(text)]:
                return text.encode("ascii")
            case "[System.Convert]", "ToBase64String", [bytes(content)]:
                return base64.b64encode(content).decode()
        raise NotModelled(f"{target}::{name}")


def _version_of(module: Value) -> Version:
    version = module.get("Version") if isinstance(module, Bag) else None
    assert isinstance(version, Version)
    return version


def _to_json(value: Value, depth: int) -> object:
    if isinstance(value, Bag):
        if depth == 0:
            raise NotModelled("ConvertTo-Json cuts what is deeper than -Depth")
        return {name: _to_json(inside, depth - 1) for name, inside in value.items()}
    if isinstance(value, list | ArrayList):
        return [_to_json(inside, depth - 1) for inside in items_of(value)]
    if value is None or isinstance(value, bool | int | str):
        return value
    raise NotModelled(f"{type(value).__name__} in JSON")


def _from_json(value: object) -> Value:
    if isinstance(value, dict):
        return Bag.of(**{name: _from_json(inside) for name, inside in value.items()})
    return [_from_json(inside) for inside in value] if isinstance(value, list) else value
