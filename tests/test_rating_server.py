"""Rating: what is shown to whom, that nothing on the way to the page tells whose a result is, and that all is kept."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import photograph, run
from PIL import Image

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")
from exposure_gym.photo import DisplayPhoto, write_display
from exposure_gym.ui.guard import Hosts
from exposure_gym.ui.rating import Method, Study, find_study, parse_sets
from exposure_gym.ui.rating_pictures import LONG_EDGE, RatingPictures
from exposure_gym.ui.rating_report import CAUTION, PAPER, rating_report
from exposure_gym.ui.rating_server import make_rating_app
from exposure_gym.ui.rating_store import FILE, RatingStore, StoreError

with warnings.catch_warnings():  # that httpx has a successor, which starlette would rather use
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

SETS = ("inputs", "ourSecretAgent", "humanExpert")
PHOTOS = ("lake", "IMG_0042", "café")


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Three sets of three photographs, each set in another format and with another brightness."""
    for i, (name, suffix) in enumerate(zip(SETS, ("png", "jpg", "tif"), strict=True)):
        for j, photo in enumerate(PHOTOS):
            photograph(tmp_path / name / f"{photo}.{suffix}", 10 * i + j)
    return {name: tmp_path / name for name in SETS}


stores: list[RatingStore] = []


@pytest.fixture(autouse=True)
def close_stores() -> Iterator[None]:
    yield
    while stores:
        stores.pop().close()


class Browser:
    """What a page does, in one process with the application."""

    def __init__(self, study: Study, file: Path, rater: str | None = "anna", **options: Any) -> None:
        self.store = RatingStore(file, study)
        stores.append(self.store)
        self.complaints: list[str] = []
        app = make_rating_app(
            study, self.store, Hosts("127.0.0.1", 80), "secret", rater=rater, complain=self.complaints.append, **options
        )
        self.client = TestClient(app, base_url="http://127.0.0.1", headers={"X-Exposure-Token": "secret"})
        self.answers: list[bytes] = []

    def ask(self, path: str, body: object = None, status: int = 200) -> Any:
        answer = self.client.get(path) if body is None else self.client.post(path, json=body)
        self.answers += [str(answer.url).encode(), repr(answer.headers.raw).encode(), answer.content]
        assert answer.status_code == status, answer.text
        return answer.content if answer.headers["content-type"] == "image/jpeg" else answer.json()

    def join(self, name: str = "anna") -> tuple[str, int | None]:
        told = self.ask("/api/raters", {"name": name})
        return f"/api/raters/{told['rater']}/trials/", told["next"]


@pytest.fixture
def browser(folders: dict[str, Path], tmp_path: Path) -> Browser:
    return Browser(find_study(folders), tmp_path / FILE)


def study_of(count: int, sets: int = 3, method: Method = "stars", seed: int = 0) -> Study:
    photos = {f"{i:03}": Path(f"{i:03}.png") for i in range(count)}
    return Study({f"set {i}": photos for i in range(sets)}, method, seed)


# -- what is shown ---------------------------------------------------------------------------------------------------


def test_everything_is_planned_once_and_one_seed_gives_one_order() -> None:
    study = study_of(40)
    trials = study.plan("anna")
    assert sorted(trial.photo for trial in trials) == study.photos
    assert all(sorted(trial.shown) == list(study.sets) for trial in trials)
    assert study.plan("anna") == trials
    for other in (study.plan("bert"), study_of(40, seed=1).plan("anna")):
        assert [trial.photo for trial in other] != [trial.photo for trial in trials]
        shown = {trial.photo: trial.shown for trial in other}
        assert any(shown[trial.photo] != trial.shown for trial in trials)


def test_every_set_stands_in_every_slot_equally_often() -> None:
    first = Counter(trial.shown[0] for trial in study_of(3000).plan("anna"))
    assert all(abs(count - 1000) < 4 * np.sqrt(3000 * 2 / 9) for count in first.values())


def test_pairs_are_all_pairs_of_each_photograph() -> None:
    trials = study_of(10, sets=4, method="pairs").plan("anna")
    seen = Counter((trial.photo, frozenset(trial.shown)) for trial in trials)
    assert len(seen) == len(trials) == 10 * 6
    assert any(a.photo != b.photo for a, b in pairwise(trials))


def test_results_are_matched_by_name_and_figures_are_no_results(folders: dict[str, Path]) -> None:
    photograph(folders["inputs"] / "lake.steps.png", 1)
    photograph(folders["inputs"] / "alone.png", 1)
    study = find_study(folders)
    assert study.photos == sorted(PHOTOS)
    assert study.left_out == 1
    assert study.sets["humanExpert"]["lake"] == folders["humanExpert"] / "lake.tif"


def test_sets_are_named_by_their_words_or_their_folders(folders: dict[str, Path], monkeypatch: Any) -> None:
    root = folders["inputs"].parent
    monkeypatch.chdir(root)
    (root / "a=b,c").mkdir()
    assert parse_sets(["inputs,ourSecretAgent"]) == {name: Path(name) for name in SETS[:2]}
    assert list(parse_sets(["raw=inputs", str(folders["humanExpert"]), "a=b,c"])) == ["raw", "humanExpert", "a=b,c"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["inputs"], "two sets at least"),
        (["inputs,nothing"], "nothing: does not exist"),
        (["a=inputs", "a=humanExpert"], "two sets have this name"),
        (["inputs", "=humanExpert"], "without a name"),
        (["inputs", "x=inputs/lake.png"], "is no folder"),
    ],
)
def test_wrong_sets_are_one_line(folders: dict[str, Path], monkeypatch: Any, words: list[str], message: str) -> None:
    monkeypatch.chdir(folders["inputs"].parent)
    with pytest.raises(ValueError, match=message) as caught:
        parse_sets(words)
    assert "\n" not in str(caught.value)


def test_two_files_of_one_name_or_none_in_common(folders: dict[str, Path]) -> None:
    shutil.copy(folders["inputs"] / "lake.png", folders["inputs"] / "lake.jpg")
    with pytest.raises(ValueError, match=r"has lake\.jpg and lake\.png; keep one"):
        find_study(folders)
    (folders["inputs"] / "lake.png").rename(folders["inputs"] / "sea.png")
    for name in ("IMG_0042", "café"):
        (folders["inputs"] / f"{name}.png").unlink()
    (folders["inputs"] / "lake.jpg").unlink()
    with pytest.raises(ValueError, match="no photograph is in all of them"):
        find_study(folders)


def test_pictures_of_one_photograph_have_one_size_and_nothing_else_in_them(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).random((900, 2400, 3), np.float32)
    for name, factor in (("small", 4), ("large", 1)):
        (tmp_path / name).mkdir()
        write_display(tmp_path / name / "x.jpg", DisplayPhoto(wide[::factor, ::factor]))
    with Image.open(tmp_path / "large" / "x.jpg") as image:
        exif = image.getexif()
        exif[0x013B] = "the expert"
        image.save(tmp_path / "large" / "x.jpg", exif=exif)
    study = find_study({name: tmp_path / name for name in ("small", "large")})
    for jpeg in RatingPictures(study).of("x").values():
        with Image.open(io.BytesIO(jpeg)) as image:
            assert image.size == (600, 225)
            assert not image.getexif()
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    shutil.copy(tmp_path / "large" / "x.jpg", tmp_path / "small" / "x.jpg")
    sizes = {Image.open(io.BytesIO(jpeg)).size for jpeg in RatingPictures(study).of("x").values()}
    assert sizes == {(LONG_EDGE, 480)}


# -- blindness ---------------------------------------------------------------------------------------------------------


def test_nothing_that_the_page_gets_tells_the_sets(browser: Browser, folders: dict[str, Path]) -> None:
    browser.ask("/api/study")
    at, place = browser.join()
    lengths = set()
    while place is not None:
        trial = browser.ask(f"{at}{place}")
        for slot in range(trial["count"]):
            lengths.add(len(browser.ask(f"{at}{place}/pictures/{slot}")))
            trial = browser.ask(f"{at}{place}/judgements", {"slot": slot, "stars": 3})
        place = trial["next"]
    assert len(lengths) > 1  # they are the pictures, not one of them
    for path in ("/", "/static/rate.js", "/static/rate.css"):
        answer = browser.client.get(path)
        browser.answers += [answer.content, repr(answer.headers.raw).encode()]
    browser.ask(f"{at}99", status=404)
    browser.ask(f"{at}0/judgements", {"slot": 9, "stars": 3}, status=400)
    (folders["humanExpert"] / "lake.tif").write_bytes(b"broken")
    fresh = Browser(find_study(folders), browser.store.path)
    fresh.join()
    fresh.ask(f"{at}{[trial.photo for trial, _ in fresh.store.trials(1)].index('lake')}", status=422)
    everything = b"\n".join(browser.answers + fresh.answers)
    for word in (*SETS, *PHOTOS, ".tif", ".png", "xpert", str(folders["inputs"].parent)):
        assert word.encode() not in everything.replace(b"image/png", b""), word
    assert "humanExpert" in fresh.complaints[0]  # on the terminal


def test_slots_are_the_stored_order(browser: Browser, folders: dict[str, Path]) -> None:
    at, place = browser.join()
    assert place == 0
    (trial, _), *_ = browser.store.trials(1)
    pictures = RatingPictures(find_study(folders)).of(trial.photo)
    for slot, name in enumerate(trial.shown):
        assert browser.ask(f"{at}0/pictures/{slot}") == pictures[name]
    browser.ask(f"{at}0/judgements", {"slot": 2, "stars": 5})
    assert browser.store.trials(1)[0][1] == {trial.shown[2]: 5}


# -- a session ---------------------------------------------------------------------------------------------------------


def test_a_session_with_stars_goes_forth_and_back(browser: Browser) -> None:
    at, _ = browser.join()
    trial = browser.ask(f"{at}0")
    assert trial.pop("stars") == [None] * 3
    places = {"place": 0, "next": 1, "previous": None}
    assert trial == places | {"count": 3, "total": 3, "judged": 0, "left_out": 0, "preferred": None}
    for slot in range(3):
        trial = browser.ask(f"{at}0/judgements", {"slot": slot, "stars": slot + 1})
    assert (trial["stars"], trial["judged"], trial["next"]) == ([1, 2, 3], 1, 1)
    trial = browser.ask(f"{at}0/judgements", {"slot": 0, "stars": 5})  # thought again
    assert trial["stars"] == [5, 2, 3]
    assert browser.ask(f"{at}2")["previous"] == 1
    assert browser.join()[1] == 1
    with closing(sqlite3.connect(browser.store.path)) as file:
        rows = file.execute("SELECT stars, time FROM judgements").fetchall()
    assert [stars for stars, _ in rows] == [1, 2, 3, 5]  # the first thought is kept too
    assert all(time.endswith("+00:00") for _, time in rows)


def test_a_session_of_pairs(folders: dict[str, Path], tmp_path: Path) -> None:
    browser = Browser(find_study(folders, "pairs"), tmp_path / FILE)
    at, place = browser.join()
    wins: Counter[str] = Counter()
    for _ in range(9):
        trial = browser.ask(f"{at}{place}")
        assert (trial["count"], trial["stars"], trial["preferred"]) == (2, None, None)
        shown = browser.store.trials(1)[trial["place"]][0].shown
        best = max(shown)  # "ourSecretAgent" over "inputs" over "humanExpert"
        trial = browser.ask(f"{at}{place}/judgements", {"slot": shown.index(best)})
        assert trial["preferred"] == shown.index(best)
        wins[best] += 1
        place = trial["next"]
    assert place is None
    assert wins == {"ourSecretAgent": 6, "inputs": 3}
    report = rating_report(browser.store.judgements(), resamples=20)
    assert (report["judgements"], report["method"]) == (9, "pairs")
    assert report["win_rates"]["ourSecretAgent"]["humanExpert"]["value"] == 1.0
    assert report["bradley_terry"]["ourSecretAgent"] == {"value": "Infinity", "interval": ["Infinity"] * 2}
    assert report["bradley_terry"]["humanExpert"]["value"] == "-Infinity"
    assert "mean_stars" not in report
    browser.ask(f"{at}0/judgements", {"slot": 0, "stars": 3}, status=400)


@pytest.mark.parametrize(
    "body",
    [{"slot": 0}, {"slot": 0, "stars": 0}, {"slot": 0, "stars": 6}, {"slot": 0, "stars": 2.5}, {"slot": -1, "stars": 3},
     {"slot": True, "stars": 3}, {"slot": "../inputs", "stars": 3}, {"slot": 3, "stars": 3}, [], "x", 3],
)  # fmt: skip
def test_what_is_no_judgement_is_refused_and_not_stored(browser: Browser, body: object) -> None:
    at, _ = browser.join()
    browser.ask(f"{at}0/judgements", body, status=400)
    assert browser.store.judgements().raters == ()


def test_addresses_that_are_not_there(browser: Browser) -> None:
    at, _ = browser.join()
    for path in (f"{at}3", "/api/raters/2/trials/0", f"{at}0/pictures/3"):
        assert browser.ask(path, status=404)["error"] == "there is no such trial"
    for path in ("/ratings.sqlite", "/static/../rating.py", "/static/%2e%2e/rating.py", f"{at}0/pictures/x"):
        assert browser.client.get(path).status_code in (404, 405)


def test_raters_do_not_mix(folders: dict[str, Path], tmp_path: Path) -> None:
    browser = Browser(find_study(folders), tmp_path / FILE, rater=None)
    assert browser.ask("/api/study") == {"method": "stars", "rater": None}
    for name in ("", "  ", None, 3, "x" * 61):
        browser.ask("/api/raters", {"name": name}, status=400)
    (anna, _), (bert, _) = browser.join("anna"), browser.join(" bert  b. ")
    assert anna != bert
    browser.ask(f"{anna}0/judgements", {"slot": 0, "stars": 5})
    assert browser.ask(f"{bert}0")["stars"] == [None] * 3
    assert browser.join("bert b.") == (bert, 0)
    assert browser.store.judgements().raters == ("anna",)


def test_raters_at_the_same_time(browser: Browser) -> None:
    def judge_all(name: str) -> None:
        rater = browser.store.join(name, [trial for trial, _ in browser.store.trials(1)])
        for place in range(3):
            for chosen in SETS:
                browser.store.judge(rater, place, chosen, 1 + len(name) % 5)

    browser.join()
    threads = [threading.Thread(target=judge_all, args=("x" * i,)) for i in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    judged = browser.store.judgements()
    assert len(judged.raters) == 6
    for name, stars in zip(judged.raters, judged.stars, strict=True):
        assert (stars == 1 + len(name) % 5).all()


def test_other_pages_cannot_judge(browser: Browser) -> None:
    at, _ = browser.join()
    body = {"slot": 0, "stars": 1}
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"X-Exposure-Token": "guess"}):
        answer = browser.client.post(f"{at}0/judgements", json=body, headers=headers)
        assert answer.status_code == 403
    assert browser.client.post(f"{at}0/judgements", content=b" " * 70_000).status_code == 413
    assert browser.store.judgements().raters == ()


def test_a_photo_that_cannot_be_read_is_left_out_and_the_others_go_on(folders: dict[str, Path], tmp_path: Path) -> None:
    lake = folders["inputs"] / "lake.png"
    lake.write_bytes(lake.read_bytes()[:200])
    browser = Browser(find_study(folders), tmp_path / FILE)
    at, _ = browser.join()
    place = [trial.photo for trial, _ in browser.store.trials(1)].index("lake")
    told = browser.ask(f"{at}{place}", status=422)
    assert (told["error"], told["left_out"]) == ("this photo cannot be shown and is left out", 1)
    assert told["next"] not in (None, place)
    browser.ask(f"{at}{place}/pictures/0", status=422)
    assert len(browser.complaints) == 1
    assert str(lake) in browser.complaints[0]
    for other in {0, 1, 2} - {place}:
        trial = browser.ask(f"{at}{other}")
        assert (trial["total"], trial["left_out"]) == (2, 1)
        assert place not in (trial["next"], trial["previous"])
        for slot in range(3):
            trial = browser.ask(f"{at}{other}/judgements", {"slot": slot, "stars": 4})
    assert (trial["judged"], trial["next"]) == (2, None)


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_a_study_goes_on_and_new_photographs_come_last(folders: dict[str, Path], tmp_path: Path) -> None:
    first = Browser(find_study(folders), tmp_path / FILE)
    at, _ = first.join()
    first.ask(f"{at}0/judgements", {"slot": 0, "stars": 2})
    before = first.store.trials(1)
    first.store.close()
    for i, name in enumerate(SETS):
        photograph(folders[name] / "aaa.png", i)
    (folders["inputs"] / "lake.png").unlink()
    second = Browser(find_study(folders), tmp_path / FILE)
    second.join()
    after = second.store.trials(1)
    assert after[:3] == before
    assert [trial.photo for trial, _ in after[3:]] == ["aaa"]
    place = [trial.photo for trial, _ in after].index("lake")
    assert second.ask(f"{at}{place}", status=422)["next"] is not None  # its file is gone


def test_another_study_is_not_mixed_into_a_file(folders: dict[str, Path], tmp_path: Path) -> None:
    RatingStore(tmp_path / FILE, find_study(folders)).close()
    for study in (find_study(folders, "pairs"), find_study(folders, seed=1), study_of(3)):
        with pytest.raises(StoreError, match="holds a study of inputs, ourSecretAgent, humanExpert by stars with"):
            RatingStore(tmp_path / FILE, study)


def test_files_that_are_no_ratings_are_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        RatingStore(tmp_path / "none" / FILE)
    (tmp_path / "text").write_text("no database " * 99)
    with closing(sqlite3.connect(tmp_path / "other")) as file:
        file.execute("CREATE TABLE something (x)")
    for name in ("text", "other"):
        for study in (None, find_study(folders)):
            with pytest.raises(StoreError, match="cannot be used as a file of ratings"):
                RatingStore(tmp_path / name, study)
    assert (tmp_path / "text").read_text().startswith("no database")


def test_a_judgement_is_on_the_disk_when_it_is_answered(browser: Browser, tmp_path: Path) -> None:
    """Another connection sees it, and so does a copy of the files taken in the middle: what a kill would leave."""
    assert browser.store._file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert browser.store._file.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    at, _ = browser.join()
    browser.ask(f"{at}0/judgements", {"slot": 1, "stars": 4})
    (tmp_path / "copy").mkdir()
    for path in browser.store.path.parent.glob(f"{FILE}*"):
        shutil.copy(path, tmp_path / "copy")
    copy = RatingStore(tmp_path / "copy" / FILE)
    assert np.nansum(copy.judgements().stars) == 4
    copy.close()


# -- the command -------------------------------------------------------------------------------------------------------


def judged(folders: dict[str, Path], file: Path) -> None:
    store = RatingStore(file, study := find_study(folders))
    rng = np.random.default_rng(0)
    for name in ("anna", "bert"):
        rater = store.join(name, study.plan(name))
        for place, (trial, _) in enumerate(store.trials(rater)):
            for set_ in trial.shown:
                store.judge(rater, place, set_, int(rng.integers(1, 3)) + 3 * (set_ == "humanExpert"))
    store.close()


def test_the_report_as_json_and_as_tables(folders: dict[str, Path], tmp_path: Path) -> None:
    judged(folders, tmp_path / FILE)
    done = run("rate", "--report", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout, parse_constant=lambda word: pytest.fail(word))
    assert (report["raters"], report["photos"], report["judgements"]) == (2, 3, 18)
    means = {name: row["value"] for name, row in report["mean_stars"].items()}
    assert list(means) == list(SETS)
    assert 4 <= means["humanExpert"] <= 5
    assert means["inputs"] <= 2
    for row in report["mean_stars"].values():
        assert row["interval"][0] <= row["value"] <= row["interval"][1]
    assert report["bradley_terry"]["inputs"] == {"value": 0.0, "interval": [0.0, 0.0]}
    assert report["bradley_terry"]["humanExpert"]["value"] == "Infinity"
    assert report["paper"] == {"mean_stars": PAPER, "caution": CAUTION}
    assert PAPER == {"Exposure": 3.43, "pix2pix": 3.37, "CycleGAN": 2.47, "people": 3.30, "expert": 3.66}
    assert run("rate", "--report", tmp_path, "--json").stdout == done.stdout
    table = run("rate", "--report", tmp_path).stdout
    for words in ("18 judgements by 2 raters, of 3 photos", "paper: Exposure", "3.43", "∞ [∞, ∞]", "has no finite"):
        assert words in table
    assert "other photographs and other raters" in " ".join(table.split())


def test_wrong_usage_is_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    RatingStore(tmp_path / FILE, find_study(folders)).close()
    two = [f"inputs={folders['inputs']}", f"human={folders['humanExpert']}"]
    for status, words, arguments in (
        (2, "two sets at least", ["--sets", two[0]]),
        (2, "does not exist", ["--report", tmp_path / "none"]),
        (1, "nothing has been judged yet", ["--report", tmp_path]),
        (2, "takes no sets", ["--report", tmp_path, "--sets", two[0]]),
        (2, "--json is for --report", ["--json", "--sets", *two]),
        (2, "go on with these, or name another folder", ["--sets", *two, "-o", tmp_path]),
        (2, "1 to 60 letters", ["--sets", *two, "-o", tmp_path / "new", "--user", " "]),
    ):
        done = run("rate", *arguments)
        assert done.exit_code == status, done.output
        assert words in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(StoreError, match="cannot be used"):
        RatingStore(tmp_path / "closed" / FILE, find_study(folders))
