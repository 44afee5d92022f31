"""Whole sessions in the browser: played with mouse, keyboard and touch, interrupted, continued, exported, replayed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason='needs pip install "exposure-gym[play]"')
pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")

from playwright.sync_api import Browser, Route
from ui_browser import PHONE, Editor, Player, chromium, decoded
from web_server import Site

from exposure_gym.ui.builtin import lay_out


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Built-in photographs, dark as a camera records them; by name."""
    return {path.stem: path for path in lay_out(tmp_path_factory.mktemp("photos"))}


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory, photos: dict[str, Path]) -> Iterator[Editor]:
    """An editor that several tests share, each as a player of another name: two photographs, and a broken one."""
    folder = tmp_path_factory.mktemp("shared")
    broken = folder / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no photograph at all")
    with Editor(folder / "played", photos["coffee"], broken, photos["rocket"]) as editor:
        yield editor


def command(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "exposure_gym", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_whole_session(browser: Browser, photos: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "played"
    with (
        Editor(output, photos["astronaut"], photos["cat"], "--user", "anna") as editor,
        Player(browser, editor.url) as me,
    ):
        page = me.page
        me.check("start")
        assert me.text("#progress") == "1/2"
        assert me.text("#count") == "Step 1 of 5"
        page.keyboard.press("Enter")  # nothing was moved: nothing happens, and it is said why
        assert me.steps == []
        assert "Move a slider" in me.text("#message")

        # a step with the mouse, a step with the keyboard
        dark = me.pixels()
        me.drag_slider(0.72)
        assert me.pixels().mean() > dark.mean() + 5
        me.check("exposure")
        me.click("#apply")
        assert len(me.steps) == 1
        assert "exposure +1." in me.steps[0]
        me.press("2")  # and the keyboard is on its slider
        me.press(*["PageUp"] * 3, *["ArrowRight"] * 2, "Enter")
        assert len(me.steps) == 2
        assert me.steps[1].startswith("gamma 1/")
        me.press("1")
        assert "using it again costs 1.00" in me.text("#penalty")
        me.check("used-already")

        # back to the first step: the second stays, and what it earned is computed again
        rewards = page.locator("#frames .reward").all_inner_texts()
        me.click("[data-frame='1']")
        assert me.text("#apply") == "Change step 1"
        me.drag_slider(0.6)
        me.check("go-back")
        me.press("Enter")
        assert len(me.steps) == 2
        assert "exposure +0." in me.steps[0]
        changed = page.locator("#frames .reward").all_inner_texts()
        assert rewards[0] != changed[0]
        assert rewards[1] != changed[1]
        me.press("u")
        assert "exposure +1." in me.steps[0]
        me.press("Shift+Z")
        assert "exposure +0." in me.steps[0]

        # curves: eight sliders, and the curve itself
        me.press("5")
        box = page.locator("#drawing svg").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.6)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.35, steps=3)
        page.mouse.up()
        me.settle()
        assert page.locator("#controls .slope input[type=text]").nth(2).input_value() != "1.00"
        me.check("tone-curve")
        page.dblclick("#controls .slope:nth-child(3) input[type=range]")
        me.settle()
        assert page.locator("#controls .slope input[type=text]").nth(2).input_value() == "1.00"
        me.press("8")
        me.click(".channel.b")
        page.fill("#controls .slope:nth-child(8) input[type=text]", "1,05")
        me.press("Enter")
        assert page.locator("#controls .slope input[type=text]").last.input_value() == "1.050"
        me.check("colour-curves")

        # the agent
        me.press("a")
        assert page.locator("#bars li").count() == 8
        assert len(page.locator("#bars .chosen").all()) == 1
        me.check("ask")
        suggested = me.text("#suggested b")
        seen = me.pixels()
        me.press("Enter")
        assert me.steps[-1].startswith(suggested[:30])
        assert np.abs(me.pixels().astype(int) - seen).mean() < 1.0

        # a power cut, with an edit in hand
        me.press("6", *["PageUp"] * 2)
        before = me.steps
        editor.stop(signal.SIGKILL)
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("#banner:not([hidden])")
        me.check("server-gone")
        page.keyboard.press("Enter")
        editor.start()
        page.wait_for_selector("#banner", state="hidden")
        me.settle()
        assert me.steps == before
        assert page.locator("#controls input[type=text]").input_value() == "+21"
        me.press("Enter")
        assert me.steps == [*before, "contrast +21 %"]
        page.reload()
        me.settle()
        assert me.steps == [*before, "contrast +21 %"]

        me.press("f")
        assert len(me.steps) == 5
        assert me.text("#apply") == "Done: save the photo"
        me.check("finished")
        page.keyboard.press("Enter")
        page.wait_for_selector("#done-dialog[open] .files li")
        me.wait_for_images(".pair img")
        me.check("done")
        saved = page.locator(".files li").all_inner_texts()
        assert saved == ["astronaut.jpg", "astronaut.recipe.json", "astronaut.steps.png"]
        assert str(output) in me.text("#done-body")
        assert all((output / name).stat().st_size for name in saved)
        page.keyboard.press("Enter")
        me.settle()
        assert me.text("#progress") == "2/2"

        # the second photo: five ways, one of them chosen; the end
        page.keyboard.press("w")
        page.wait_for_selector("#ways-dialog[open] img")
        assert page.locator("#cards li").count() == 5
        me.check("ways")
        page.keyboard.press("2")
        me.settle()
        assert 1 <= len(me.steps) <= 5
        page.keyboard.press("d")
        page.wait_for_selector("#done-dialog[open] .files li")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelectorAll('.tiles img').length === 2")
        me.wait_for_images(".tiles img")
        me.check("summary")

    recipe = json.loads((output / "astronaut.recipe.json").read_text(encoding="utf-8"))
    assert [edit["filter"] for edit in recipe["edits"]][:2] == ["exposure", "gamma"]
    command("study", "export", output, "-o", tmp_path / "export")
    actions = [json.loads(line) for line in (tmp_path / "export" / "actions.jsonl").read_text("utf-8").splitlines()]
    assert len(actions) >= 10
    command("study", "replay", output)


def test_phone(browser: Browser, editor: Editor) -> None:
    with Player(browser, f"{editor.url}?user=phone", PHONE) as me:
        page = me.page
        me.check("phone-start")
        slider = page.locator("#controls input[type=range]").bounding_box()
        assert slider is not None
        assert slider["height"] >= 44
        assert slider["y"] + slider["height"] < page.locator("#apply").bounding_box()["y"]  # type: ignore[index]
        page.touchscreen.tap(slider["x"] + slider["width"] * 0.7, slider["y"] + slider["height"] / 2)
        me.settle()
        me.check("phone-exposure")
        page.tap("#apply")
        me.settle()
        assert me.steps[0].startswith("exposure +")
        page.tap("#tab-tone")
        me.settle()
        me.check("phone-tone-curve")
        page.tap("#ask")
        me.settle()
        me.check("phone-ask")
        page.tap("#apply")
        me.settle()
        assert len(me.steps) == 2
        page.tap("#ways")
        page.wait_for_selector("#ways-dialog[open] img")
        me.check("phone-ways")
        page.tap("#ways-dialog .close")
        me.settle()
        page.tap("#done")
        page.wait_for_selector("#done-dialog[open] .files li")
        me.check("phone-done")


def test_two_browsers_do_not_mix(browser: Browser, editor: Editor) -> None:
    with Player(browser, editor.url) as one, Player(browser, editor.url) as other:
        one.press("1")
        one.drag_slider(0.7)
        one.press("Enter")
        other.press("6")
        other.drag_slider(0.9)
        other.press("Enter")
        assert one.ask_server("/api/session")["session"] != other.ask_server("/api/session")["session"]
        for player, filter in ((one, "exposure"), (other, "contrast")):
            player.page.reload()
            player.settle()
            (step,) = player.steps
            assert step.startswith(filter)


def test_after_fifty_fast_movements_the_last_one_is_seen(browser: Browser, editor: Editor) -> None:
    with Player(browser, f"{editor.url}?user=fast") as me:
        slider = me.page.locator("#controls input[type=range]")
        values: list[float] = slider.evaluate(
            """(slider) => Array.from({ length: 50 }, (_, i) => {
                slider.value = 0.5 + 0.4 * Math.sin(i);
                slider.dispatchEvent(new Event("input", { bubbles: true }));
                return 7 * Number(slider.value) - 3.5;
            })"""
        )
        me.settle()
        edit = {"filter": "exposure", "parameters": [values[-1]]}
        answer = me.ask_server("/api/photos/1/preview", {"step": 0, "edit": edit})
        assert np.abs(me.pixels().astype(int) - decoded(answer["image"])).max() <= 3  # two JPEG decoders
        shown = me.page.locator("#controls input[type=text]").input_value().replace("−", "-")
        assert float(shown) == pytest.approx(values[-1], abs=0.006)


def test_view(browser: Browser, editor: Editor) -> None:
    with Player(browser, f"{editor.url}?user=view") as me:
        page = me.page
        me.drag_slider(0.8)
        box = page.locator("#viewer").bounding_box()
        assert box is not None
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        divide = page.locator("#divide")
        handle = page.locator("#divide .grip").bounding_box()
        assert handle is not None
        page.mouse.move(handle["x"] + 10, handle["y"] + 10)
        page.mouse.down()
        page.mouse.move(*middle, steps=3)
        page.mouse.up()
        assert divide.get_attribute("aria-valuenow") == "50"
        page.keyboard.press("ArrowRight")
        assert divide.get_attribute("aria-valuenow") == "52"

        def size() -> float:
            return float(page.evaluate("document.getElementById('after').getBoundingClientRect().width"))

        whole = size()
        page.mouse.move(*middle)
        page.mouse.wheel(0, -200)
        page.wait_for_function(f"() => document.getElementById('after').getBoundingClientRect().width > {whole + 10}")
        page.keyboard.press("+")
        assert size() > whole * 1.5
        left = page.locator("#after").bounding_box()
        page.mouse.move(middle[0] - 100, middle[1] - 100)
        page.mouse.down()
        page.mouse.move(middle[0] - 60, middle[1] - 80, steps=3)
        page.mouse.up()
        moved = page.locator("#after").bounding_box()
        assert left is not None
        assert moved is not None
        assert moved["x"] == pytest.approx(left["x"] + 40, abs=1)
        me.screenshot("zoomed")
        page.keyboard.press("0")
        assert size() == pytest.approx(whole, abs=0.5)
        page.click("#zoom-full")
        assert size() == page.evaluate("document.getElementById('after').width")
        page.keyboard.press("0")

        page.keyboard.down("b")
        assert page.locator("#hold").get_attribute("aria-pressed") == "true"
        assert not divide.is_visible()
        page.keyboard.up("b")
        assert divide.is_visible()
        page.keyboard.press("c")
        assert not divide.is_visible()
        page.keyboard.press("?")
        me.check("help")
        page.keyboard.press("Escape")
        page.keyboard.press("r")
        me.settle()
        assert page.locator("#controls input[type=text]").input_value() == "0.00"


def test_broken_photos(browser: Browser, editor: Editor) -> None:
    with Player(browser, f"{editor.url}?user=broken") as me:
        page = me.page
        me.press("n")
        assert "broken.jpg" in me.text("#notice")
        me.check("broken-photo")
        page.click("#notice button")
        me.settle()
        assert me.text("#progress") == "3/3"
        assert not page.is_visible("#notice")

        bad = b"\x89PNG\r\n\x1a\n but no more"
        page.evaluate(
            """(bytes) => {
                const carried = new DataTransfer();
                carried.items.add(new File([new Uint8Array(bytes)], "upload.png"));
                const how = { dataTransfer: carried, bubbles: true, cancelable: true };
                for (const kind of ["dragenter", "dragover", "drop"]) {
                    document.body.dispatchEvent(new DragEvent(kind, how));
                }
            }""",
            list(bad),
        )
        page.wait_for_function("() => document.getElementById('message').textContent.includes('upload')")
        me.settle()
        assert me.text("#progress") == "3/3"
        me.drag_slider(0.7)
        me.press("Enter")
        assert len(me.steps) == 1


def test_a_photo_that_takes_long_says_so(browser: Browser, editor: Editor) -> None:
    with Player(browser, f"{editor.url}?user=slow") as me:
        page = me.page
        assert not page.is_visible("#opening")
        held: list[Route] = []
        page.route("**/api/photos/3/preview", lambda route: held.append(route), times=1)
        page.select_option("#photos", "3")
        page.wait_for_function(
            "() => getComputedStyle(document.getElementById('opening')).opacity === '1' && !opening.hidden"
        )
        assert me.text("#opening") == "Opening rocket.tif …"
        me.check("opening")
        while not held:
            page.wait_for_timeout(20)
        held[0].continue_()
        page.wait_for_selector("#opening", state="hidden")
        me.settle()
        assert me.pixels().mean() > 0


def test_photo_of_24_megapixels(browser: Browser, editor: Editor, tmp_path: Path) -> None:
    y, x = np.mgrid[0:4000:8, 0:6000:8].astype(np.float32)
    scene = np.stack([x / 24, y / 16, 128 + 100 * np.sin(x / 300) * np.cos(y / 250)], 2)
    large = tmp_path / "large.jpg"
    cv2.imwrite(str(large), cv2.resize(scene, (6000, 4000)).clip(0, 255).astype(np.uint8))
    with Player(browser, f"{editor.url}?user=large") as me:
        page = me.page
        page.set_input_files("#upload", large)
        page.wait_for_function("() => document.getElementById('progress').textContent === '4/4'")
        me.settle()
        me.drag_slider(0.4)
        me.press("Enter")
        page.keyboard.press("d")
        page.wait_for_selector("#done-dialog[open] .files li", timeout=60_000)
        saved = editor.output / page.locator(".files li").first.inner_text()
        assert saved.name == "large.jpg"
        with Image.open(saved) as image:
            assert image.size == (6000, 4000)
        assert me.problems == []


def test_blind_and_alone(browser: Browser, photos: dict[str, Path], tmp_path: Path) -> None:
    missing = tmp_path / "no-weights"
    with (
        Editor(tmp_path / "played", photos["cat"], "--blind", weights=missing) as editor,
        Player(browser, editor.url) as me,
    ):
        assert me.page.is_disabled("#ask")
        assert me.page.is_disabled("#finish")
        assert me.page.is_disabled("#ways")
        assert "there is no agent" in me.text("#no-agent")
        me.drag_slider(0.7)
        assert me.text("#forecast") == ""
        me.press("a", "f", "w", "Enter")
        assert len(me.steps) == 1
        assert me.page.locator("#frames .reward").count() == 0
        assert "core" not in me.text("#score")
        me.check("blind-and-alone")


def test_page_of_another_origin_can_do_nothing(browser: Browser, editor: Editor) -> None:
    with Player(browser, f"{editor.url}?user=victim") as me, Site({"evil.html": b"<!doctype html><p>evil</p>"}) as site:
        me.drag_slider(0.7)
        me.press("Enter")
        session = me.ask_server("/api/session")["session"]
        evil = me.context.new_page()
        evil.goto(f"{site.url}/evil.html")
        results = evil.evaluate(
            """async ([url, session]) => {
                const send = (path, options) =>
                    fetch(url + path, options).then((answer) => answer.type, () => "refused");
                const body = JSON.stringify({});
                const headers = { "Content-Type": "application/json", "X-Exposure-Session": session };
                return [
                    await send("api/photos/1/undo", { method: "POST", body, headers }),
                    await send("api/photos/1/undo", { method: "POST", body, mode: "no-cors" }),
                    await send("api/photos/1/done", { method: "POST", body, mode: "no-cors", credentials: "include" }),
                    await send("", { method: "GET" }),
                ];
            }""",
            [editor.url, session],
        )
        assert results == ["refused"] * 4
        photo = me.ask_server("/api/photos/1")
        assert len(photo["steps"]) == 1
        assert photo["done"] is False
