"""The commands, each made when it is called: none waits for the others."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import getdoc
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from batch.cli.values import lighten

#: Where each is, in the order in which help tells of them: room and name.
PLACES: Mapping[str, tuple[str, str]] = {
    "submit": ("submit", "submit"),
    "append": ("append", "append"),
    "run": ("run", "run"),
    "status": ("status", "status"),
    "export": ("results", "export"),
    "show": ("results", "show"),
    "retry": ("jobs", "retry"),
    "cancel": ("jobs", "cancel"),
    "pause": ("jobs", "pause"),
    "resume": ("jobs", "resume"),
    "change": ("jobs", "change"),
    "delete": ("jobs", "delete"),
    "models": ("about", "models"),
    "providers": ("about", "providers"),
    "config": ("about", "config"),
    "doctor": ("doctor", "doctor"),
    "demo": ("stage", "demo"),
    "standin": ("stage", "standin"),
    "quota": ("accounts", "quota"),
    "keys": ("accounts", "keys"),
    "schedule": ("schedule", "schedule"),
    "db": ("db", "db"),
}


class Commands(TyperGroup):
    """A group whose commands are loaded one by one."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # A mapping does: typer reads it, and says that it is a dict.
        self.commands = _OnDemand()  # type: ignore[assignment]

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Typer would make an exit code of it without a word.
            raise typer.Abort from None

    def list_commands(self, ctx: Any) -> list[str]:
        return list(PLACES)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        # Without their options, which take longer to make than all the rest of this.
        told: dict[str, Any] = {
            name: TyperCommand(name, help=_help(name)) for name in PLACES
        }
        TyperGroup(commands=told).format_commands(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        lighten(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        for one in (command, *getattr(command, "commands", {}).values()):
            if one is not None:
                lighten(one.get_params(ctx))
        return name, command, rest


class _OnDemand(Mapping[str, Any]):
    """The commands by their names."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(PLACES)

    def __len__(self) -> int:
        return len(PLACES)


def _load(name: str) -> Any:
    found = _found(name)
    alone = typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
    else:
        alone.command(name)(found)
    return get_group(alone).commands[name]


def _help(name: str) -> str | None:
    found = _found(name)
    return found.info.help if isinstance(found, typer.Typer) else getdoc(found)


def _found(name: str) -> Any:
    room, there = PLACES[name]
    return getattr(import_module(f"batch.cli.{room}"), there)
