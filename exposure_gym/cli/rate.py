"""``exposure-gym rate``: people judge results without knowing whose they are, and what that says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from exposure_gym.cli.messages import complain, fail, make_folder, valid_seed

PORT = 8775


def rate(
    more: Annotated[list[str] | None, typer.Argument(metavar="NAME=DIR", hidden=True)] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--sets",
            metavar="NAME=DIR...",
            help="Folders of results: inputs=DIR agent=DIR human=DIR ..., or folders with commas between them.",
            show_default=False,
        ),
    ] = None,
    pairwise: Annotated[
        bool, typer.Option("--pairwise", metavar="", help="Ask which of two is better, instead of for stars.")
    ] = False,
    user: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who judges.", show_default="the page asks"),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the judgements; made if need be.")
    ] = Path("ratings"),
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Print what was found in the judgements of this folder.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="With --report: JSON instead of tables.")] = False,
    seed: Annotated[
        int,
        typer.Option(
            metavar="S", help="Of the order of what is shown; with --report, of resampling.", callback=valid_seed
        ),
    ] = 0,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="P", help="Where to listen; 0 for any.", show_default=str(PORT)),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="H", help="Address to listen on; others than this machine can come in by others.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", metavar="", help="Open the browser.")] = True,
) -> None:
    """Let people judge results side by side, blind: 1 to 5 stars each, or which of two is better.

    Results of one photo have one name in all folders, whatever the extension. They are shown shuffled, under letters,
    in one size. Every judgement is kept at once in DIR/ratings.sqlite: the same command goes on where it was left,
    whatever ended it, and everybody under their own name.

    --report DIR prints mean stars, how often each set was preferred to each other, and the Bradley-Terry scale, with
    95 % intervals over raters and photos.

    It serves this machine only, unless --host says otherwise. Ctrl-C ends it.
    """
    if report is not None:
        if sets or more:
            fail("--report reads what was judged, and takes no sets; leave one of them out", 2)
        _report(report, as_json, seed)
    else:
        if as_json:
            fail("--json is for --report DIR", 2)
        _serve([*(sets or []), *(more or [])], pairwise, user, output, seed, host, port, browser)


def _serve(
    sets: list[str],
    pairwise: bool,
    user: str | None,
    output: Path,
    seed: int,
    host: str,
    port: int | None,
    browser: bool,
) -> None:
    from exposure_gym.cli.serving import listen, need_packages, serve
    from exposure_gym.ui.rating import find_study, parse_sets

    need_packages("rating")
    try:
        study = find_study(parse_sets(sets), "pairs" if pairwise else "stars", seed)
    except ValueError as error:
        fail(str(error), 2)
    if study.left_out:
        complain(f"photos that are not in every set are left out: {study.left_out}")
    make_folder(output)

    import secrets

    from exposure_gym.ui.guard import Hosts
    from exposure_gym.ui.rating_server import NAME_LENGTH, make_rating_app
    from exposure_gym.ui.rating_store import FILE, RatingStore, StoreError

    if user is not None and not 1 <= len(user.strip()) <= NAME_LENGTH:
        fail(f"--user: a name has 1 to {NAME_LENGTH} letters", 2)
    try:
        store = RatingStore(output / FILE, study)
    except StoreError as error:
        fail(str(error), 2)
    try:
        listener = listen(host, PORT if port is None else port, else_any=port is None)
        hosts = Hosts(host, listener.getsockname()[1])
        app = make_rating_app(study, store, hosts, secrets.token_urlsafe(24), rater=user, complain=complain)
        photos = len(study.photos)
        serve(app, listener, host, what=f"Rating of {photos} photo{'' if photos == 1 else 's'}", browser=browser)
    finally:
        store.close()
    typer.echo(f"What was judged: exposure-gym rate --report {output}")


def _report(folder: Path, as_json: bool, seed: int) -> None:
    from exposure_gym.ui.rating_report import rating_report, tables
    from exposure_gym.ui.rating_store import FILE, RatingStore, StoreError

    try:
        store = RatingStore(folder if folder.is_file() else folder / FILE)
    except StoreError as error:
        fail(str(error), 2)
    judged = store.judgements()
    store.close()
    if not judged.raters:
        fail(f"{folder}: nothing has been judged yet; let people rate first")
    found = rating_report(judged, seed=seed)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for part in tables(found):
        console.print(part, markup=False) if isinstance(part, str) else console.print(part)
