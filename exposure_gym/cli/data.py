"""``exposure-gym data``: fetch and pack the dataset of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exposure_gym.cli.messages import complain, fail, progress_bar, valid_seed

app = typer.Typer(help="Fetch and pack photographs to train on.")
fivek = typer.Typer(help="The MIT-Adobe FiveK dataset, which the paper was trained on: for research only.")
app.add_typer(fivek, name="fivek")


@fivek.command()
def download(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the files; made if need be.")],
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Another place that has the same files.", show_default="the authors' release"),
    ] = None,
) -> None:
    """Fetch the files that the authors of the paper trained on, about 2.4 GB.

    They hold the inputs and expert C's photographs, small. Run it again if the line broke: it goes on from there.
    """
    from exposure_gym.data.fivek import URL, download_fivek

    with progress_bar() as bar:
        task = bar.add_task("connecting", total=None)

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, description=f"{name}, MB", completed=done // 10**6, total=-(-total // 10**6))

        try:
            count = download_fivek(folder, url or URL, show)
        except ValueError as error:
            fail(str(error))
        except KeyboardInterrupt:
            fail("interrupted; the same command goes on from there", 130)
    typer.echo(f"{folder}: {count} photographs; next: exposure-gym data fivek pack {folder} -o PACK")


@fivek.command()
def pack(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="What download fetched, or the original dataset: DNG files, and TIFFs in tiff16_c."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PACK", help="Folder for the pack.", show_default=False)
    ],
    expert: Annotated[
        str, typer.Option(metavar="LETTERS", help="Whose photographs are the targets: one or more of A to E.")
    ] = "C",
    size: Annotated[int, typer.Option(min=1, max=4096, metavar="N", help="Edge of the crops in pixels.")] = 80,
    seed: Annotated[int, typer.Option(callback=valid_seed, metavar="S", help="Of the places of the crops.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes.", show_default="one a core")
    ] = None,
) -> None:
    """Pack FiveK for training: all crops in a few files that need no memory.

    Stop it whenever you like: run again, it goes on from there. The original dataset needs the raw extra: DNG files are
    developed in daylight white balance and 1.5 stops darker, as the authors' were.
    """
    from exposure_gym.data.fivek_pack import pack_fivek

    with progress_bar() as bar:
        task = bar.add_task("photographs", total=None)
        try:
            count = pack_fivek(
                source,
                output,
                experts=expert.upper(),
                size=size,
                seed=seed,
                workers=workers,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
                on_error=complain,
            )
        except ValueError as error:
            fail(str(error))
        except KeyboardInterrupt:
            fail("interrupted; the same command goes on from there", 130)
    typer.echo(f"{output}: {count} inputs packed")
