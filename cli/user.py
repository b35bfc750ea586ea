"""`adline user`: who may sign in, and as what."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from cli.option import ConfigOption, JsonOption
from cli.output import print_json, print_table
from orchestrator import users
from orchestrator.archive import reading
from orchestrator.configuration import Loaded, load_settings
from orchestrator.users import console
from storage import people
from storage.people_rows import Role

app = typer.Typer(help="Add people, give them roles and passwords, give programs tokens.", no_args_is_help=True)
token_app = typer.Typer(help="Give programs tokens, and take them back.", no_args_is_help=True)
app.add_typer(token_app, name="token")

NameArgument = Annotated[str, typer.Argument(help="Name of the user.", metavar="NAME")]
USER_COLUMNS = ("name", "role", "created_at", "signed_in_at", "has_password", "tokens")
TOKEN_COLUMNS = ("id", "user_name", "label", "created_at", "expires_at", "used_at")


@app.command("list")
def list_users(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show who may sign in, and as what."""
    with reading(load_settings(config, os.environ)) as session:
        found = people.listed(session)
    if as_json:
        print_json(found)
    elif found:
        print_table(USER_COLUMNS, found)
    else:
        typer.echo("no users yet; `adline user add` adds one")


@app.command()
def add(
    name: NameArgument,
    role: Annotated[Role, typer.Option("--role", help="What the user may do.")],
    no_password: Annotated[
        bool, typer.Option("--no-password", help="For a program, which shows a token instead.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Add a user; the password is asked for, or read from the first line of standard input."""
    name, loaded = people.user_name(name), load_settings(config, os.environ)
    password = None if no_password else asked_password()
    with changing(loaded, first_admin=role is not Role.ADMIN or no_password) as session:
        users.add_user(session, loaded.settings, name, role, password)
    typer.echo(f"{name} is {role}")


@app.command("passwd")
def change_password(name: NameArgument, config: ConfigOption = None) -> None:
    """Set another password; whoever is signed in under the name has to sign in again."""
    name, loaded = people.user_name(name), load_settings(config, os.environ)
    password = asked_password()
    with changing(loaded) as session:
        users.change_password(session, loaded.settings, name, password)
    typer.echo(f"{name} has another password")


@app.command("role")
def change_role(
    name: NameArgument,
    role: Annotated[Role, typer.Argument(help="What the user may do from now on.")],
    config: ConfigOption = None,
) -> None:
    """Give another role; whoever is signed in under the name has to sign in again."""
    name = people.user_name(name)
    with changing(load_settings(config, os.environ)) as session:
        people.change_role(session, name, role, console())
    typer.echo(f"{name} is {role}")


@app.command()
def remove(name: NameArgument, config: ConfigOption = None) -> None:
    """Let a user in no more; what they did stays on record."""
    name = people.user_name(name)
    with changing(load_settings(config, os.environ)) as session:
        people.remove(session, name, console())
    typer.echo(f"{name} is let in no more")


@token_app.command("add")
def add_token(
    name: NameArgument,
    label: Annotated[str, typer.Option("--label", help="What the token is for.")] = "",
    days: Annotated[int | None, typer.Option("--days", min=1, max=3650, help="How long it is good.")] = None,
    config: ConfigOption = None,
) -> None:
    """Print a new token, once; who shows it may do what the user may."""
    name = people.user_name(name)
    with changing(load_settings(config, os.environ)) as session:
        token = users.add_token(session, name, label, days)
        typer.echo(token)


@token_app.command("list")
def list_tokens(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the tokens in use, without what is secret of them."""
    with reading(load_settings(config, os.environ)) as session:
        found = people.tokens(session)
    if as_json:
        print_json(found)
    elif found:
        print_table(TOKEN_COLUMNS, found)
    else:
        typer.echo("no tokens")


@token_app.command("revoke")
def revoke_token(
    number: Annotated[int, typer.Argument(help="Which one, as `adline user token list` shows it.", metavar="ID")],
    config: ConfigOption = None,
) -> None:
    """Take a token back."""
    with changing(load_settings(config, os.environ)) as session:
        people.revoke_token(session, number, console())
    typer.echo(f"token {number} is good no more")


def changing(loaded: Loaded, first_admin: bool = True) -> AbstractContextManager[Session]:
    """One transaction; before it the first admin is made, unless this is about to be one."""
    return users.changing(loaded, told if first_admin else None)


def told(what: str) -> None:
    typer.echo(f"adline: {what}", err=True)


def asked_password() -> str:
    """Never from the command line, where every process of the machine could read it."""
    if sys.stdin.isatty():
        password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        return password
    return sys.stdin.readline().rstrip("\n")
