"""The static report: what it collects, what it writes, and the page in headless Chromium."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.commands.evaluate import evaluate_and_record
from common.data.lists import read_split
from common.data.sets.voc import VOC2012
from common.files import write_json
from common.inference.picture_scores import LABELS_FOLDER, SCORES_FILE, PictureScores
from common.report import curves, evaluations, folder, gallery, tables
from common.report.__main__ import main
from common.results import records
from common.results import tables as results
from common.results.published import read_published
from common.weights.weights import Weights
from tests.helpers import browser
from tests.helpers.tiny import SMALL, TINY, run

HOSTILE = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>&amp;`x`"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, sample_set):
    """A working folder with a run of the tiny network, evaluated by two protocols on four pictures; read only."""
    place = tmp_path_factory.mktemp("workplace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("RESULTS_DIR", str(place / "results"))
        train = ["train", "--data", sample_set, "--run-dir", "runs/tiny", "--limit", "2", "--quiet", "--set"]
        assert run(*train, "num_steps=2", "save_interval=2", "validation_interval=1") == 0
        weights = Weights("runs/tiny/model.ckpt-2")
        split = read_split(VOC2012, sample_set, "val")
        for name, changes in (("plain", {}), ("mirror", {"eval_flip": True})):
            recipe = SMALL.derive(num_steps=2, save_interval=2, validation_interval=1, **changes)
            evaluate_and_record(
                TINY, recipe, split, weights, Path("runs/tiny") / name,
                limit=4, save_labels=True, keep=True, quiet=True,
                command=f"python -m reproductions.tiny evaluate --out {name}",
            )  # fmt: skip
    return place


@pytest.fixture
def here(workplace, monkeypatch):
    """Inside the workplace, with its records."""
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("RESULTS_DIR", str(workplace / "results"))
    return workplace


@pytest.fixture
def report(here, sample_set, tmp_path, capsys):
    assert main(["--out", str(tmp_path / "report"), "--data", str(sample_set), "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report/index.html")
    return tmp_path / "report"


def content(report):
    """What data.js gives to the page."""
    script = (report / "assets/data.js").read_text(encoding="ascii")
    return json.loads(script.removeprefix("window.REPORT = ").rstrip().removesuffix(";"))


def test_the_report_is_small_and_whole(report):
    files = [path for path in report.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000  # 5 MB hold a sample run of sixteen models
    found = content(report)
    for e in found["evaluations"]:
        assert json.loads((report / e["record"]).read_text()) in records.read_records()
    (shown,) = found["galleries"]
    assert [p["name"] for p in shown["pictures"]] == [f"sample_{i:06d}" for i in range(64, 68)]
    for picture in shown["pictures"]:
        assert set(picture["maps"]) == {"0", "1"}
        for file in (picture["image"], picture["label"], *picture["maps"].values()):
            with Image.open(report / file) as image:
                assert list(image.size) == picture["size"]
                assert max(image.size) <= gallery.SIDE
    for name in ("index.html", "assets/report.js", "assets/report.css"):
        text = (report / name).read_text()
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|fetch\(|type=.?module", text), name
    assert not found["missing"] or {m["section"] for m in found["missing"]} == {"speed"}  # no bench here


def test_every_number_is_a_records(report, here):
    """What the script holds is what records, logs and score files say, and nothing else."""
    found, stored = content(report), sorted(records.read_records(), key=results.record_order)
    for place, (e, record) in enumerate(zip(found["evaluations"], stored, strict=True)):
        assert e["miou"] == record["miou"]
        assert e["pixel_accuracy"] == record["pixel_accuracy"]
        assert dict(zip(e["classes"], e["iou"], strict=True)) == record["per_class_iou"]
        assert (e["seconds"], e["peak_memory_mib"], e["cores"]) == tuple(
            record[k] for k in ("seconds", "peak_memory_mib", "cores")
        )
        matrix = np.array(record["confusion_matrix"])
        occur = matrix.sum(1) > 0
        counts = np.array(e["confusion"]["counts"])
        assert e["confusion"]["classes"] == np.flatnonzero(occur).tolist()
        assert (counts == matrix[occur][:, occur]).all()
        assert (counts.sum(1) + e["confusion"]["elsewhere"] == matrix.sum(1)[occur]).all()
        scores = PictureScores.load(Path(record["evaluation"]) / SCORES_FILE)
        for ends in found["extremes"][str(place)]:
            for name, iou in ends["worst"] + ends["best"]:
                one = scores.matrix([scores.names.index(name)])
                c = ends["class"]
                assert iou == round(one[c, c] / (one[c].sum() + one[:, c].sum() - one[c, c]), 6)
    (trained,) = found["runs"]
    log = [json.loads(line) for line in Path("runs/tiny/log.jsonl").read_text().splitlines()]
    assert trained["step"] == [1, 2]
    assert trained["every"] == 1
    assert trained["evaluations"] == [0, 1]
    for name in ("pixel_loss", "miou", "pixel_accuracy"):
        assert trained[name] == pytest.approx([e[name] for e in log], rel=1e-5)
    validation = [json.loads(line) for line in Path("runs/tiny/validation.jsonl").read_text().splitlines()]
    for name in ("miou", "pixel_accuracy"):
        assert trained["validation"][name] == [e[name] for e in validation]
    for shown, row in zip(found["published"], read_published(), strict=True):
        assert shown["source"] == row.table.source
        assert shown["ours"] is None
        assert shown["needs"]
        assert (shown["paper"] or float(shown["repository"])) == row.miou


def test_label_maps_keep_their_classes(report, here):
    """The small maps show the card's colours at the places of the label maps' classes."""
    picture = content(report)["galleries"][0]["pictures"][0]
    whole = np.asarray(Image.open(Path("runs/tiny/plain") / LABELS_FOLDER / f"{picture['name']}.png"))
    small = Image.fromarray(whole).resize(picture["size"], Image.Resampling.NEAREST)
    shown = np.asarray(Image.open(report / picture["maps"]["0"]).convert("RGBA"))
    expected = np.array(VOC2012.palette)[np.asarray(small)]
    assert (shown[..., :3] == expected).all()
    assert (
        shown[..., 3] == np.where(np.asarray(small) == 0, 0, 255)
    ).all()  # black background lets the picture through


def test_pictures_of_a_large_set_are_the_ends_of_every_class():
    rng = np.random.RandomState(1)
    scores = PictureScores(3)
    for i in range(200):
        label = rng.randint(0, 3, (4, 4))
        scores.add(f"p{i}", label, np.where(rng.rand(4, 4) < 0.5, label, 0))
    one = evaluations.Evaluated(0, {}, Path(), scores)
    chosen = gallery.chosen_pictures([one])
    assert len(chosen) == len(set(chosen)) == gallery.PICTURES
    ends = {name for found in one.extremes for end in ("worst", "best") for name, _ in found[end]}
    assert ends <= set(chosen)
    for found in one.extremes:
        column = one.iou[:, found["class"]]
        assert found["worst"][0][1] == round(np.nanmin(column), 6)
        assert found["best"][0][1] == round(np.nanmax(column), 6)


def test_the_gallery_keeps_to_its_budget(here, sample_set, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "BUDGET", 30_000)
    assert main(["--out", str(tmp_path / "r"), "--data", str(sample_set), "--quiet"]) == 0
    (shown,) = content(tmp_path / "r")["galleries"]
    assert 0 < len(shown["pictures"]) < shown["total"] == 4
    assert sum(path.stat().st_size for path in (tmp_path / "r/assets/pictures").iterdir()) <= 30_000


def test_long_logs_are_thinned_to_means():
    assert curves._means([1.0, 3.0, None, 8.0, 5.0], 2) == [2.0, 8.0, 5.0]
    assert curves._means([None, None], 1) == [None, None]


def test_without_records_the_page_says_how_to_get_them(tmp_path, monkeypatch, results_dir, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    assert capsys.readouterr().out.strip() == str(results_dir / "report/index.html")
    found = content(results_dir / "report")
    assert found["evaluations"] == []
    assert "make eval-all" in found["missing"][0]["commands"]


def test_what_is_gone_or_of_a_later_evaluation_is_named(here, tmp_path, monkeypatch):
    """Records alone; then a folder that a later evaluation has taken, a damaged one, and no data set."""
    monkeypatch.chdir(tmp_path)
    assert main(["--out", "r", "--quiet"]) == 0
    found = content(tmp_path / "r")
    assert len(found["evaluations"]) == 2
    assert not found["galleries"]
    assert not found["runs"]
    gone = {m["section"]: m for m in found["missing"]}
    assert "2 of 2 evaluations have no folder" in gone["gallery"]["what"]
    assert gone["gallery"]["commands"] == [
        f"python -m reproductions.tiny evaluate --out {n}" for n in ("plain", "mirror")
    ]
    assert gone["training"]["what"] == "The curves of 1 training run are not here."
    assert "runs/tiny" in gone["training"]["how"]
    assert "make bench" in gone["speed"]["commands"]

    stored = records.read_records()
    other = PictureScores(21)
    other.add("a", np.zeros((2, 2), int), np.zeros((2, 2), int))
    other.save(tmp_path / stored[0]["evaluation"] / SCORES_FILE)
    broken = tmp_path / stored[1]["evaluation"] / SCORES_FILE
    broken.parent.mkdir()
    broken.write_bytes(b"PK")
    kept, missing = evaluations.find(stored)
    assert not kept
    assert {m.what.split(" evaluations ")[1] for m in missing} == {
        "have no folder below this one, or a later evaluation replaced it.",
        f"have a {SCORES_FILE} that cannot be read.",
    }


def test_records_of_an_older_schema_are_shown(here, tmp_path, monkeypatch):
    old = dict(records.read_records()[0])
    for later in ("evaluation", "peak_memory_mib", "seconds", "cores", "cpu", "commit", "changed", "versions"):
        old.pop(later)
    monkeypatch.setenv("RESULTS_DIR", str(tmp_path / "old"))
    write_json(tmp_path / "old/runs/old.json", {**old, "digest": records.digest(old)})
    assert main(["--out", str(tmp_path / "r"), "--quiet"]) == 0
    found = content(tmp_path / "r")
    assert found["evaluations"][0]["peak_memory_mib"] is None
    assert "before evaluations kept" in str(found["missing"])


@pytest.mark.parametrize("mine", ["notes.txt", "assets/logo.png", "records/mine.json", "assets/pictures/mine/a.jpg"])
def test_a_file_of_a_persons_own_in_a_report_stays(report, here, tmp_path, capsys, mine):
    copy = shutil.copytree(report, tmp_path / "copy")
    (copy / mine).parent.mkdir(exist_ok=True)
    (copy / mine).write_text("mine")
    assert main(["--out", str(copy), "--quiet"]) == 2
    assert f"copy: holds {mine} beside the report, which would be lost; move that away" in capsys.readouterr().err
    assert (copy / mine).read_text() == "mine"
    (copy / mine).unlink()
    assert main(["--out", str(copy), "--quiet"]) == 0


@pytest.mark.parametrize("out", [".", "..", str(Path.cwd().root)])
def test_the_working_folder_is_no_report(tmp_path, monkeypatch, capsys, out):
    monkeypatch.setenv("RESULTS_DIR", str(tmp_path / "results"))
    (tmp_path / "here/empty").mkdir(parents=True)
    assert main(["--out", str(tmp_path / "here/empty"), "--quiet"]) == 0  # an empty folder is taken
    shutil.rmtree(tmp_path / "here/empty")
    (tmp_path / "here/empty").mkdir()
    monkeypatch.chdir(tmp_path / "here/empty")
    assert main(["--out", out, "--quiet"]) == 2
    assert f"--out {out}: is the folder that you work in, above it, or a mounted disk; name" in capsys.readouterr().err


def test_a_record_changed_by_hand_is_named_and_the_others_are_shown(report, here, tmp_path, monkeypatch, capsys):
    ids = {record["id"] for record in records.read_records()}
    write_json(tmp_path / "results/runs/x.json", records.read_records()[0] | {"id": "x", "miou": 0.99})
    for path in (here / "results/runs").iterdir():
        shutil.copy(path, tmp_path / "results/runs")
    monkeypatch.setenv("RESULTS_DIR", str(tmp_path / "results"))
    assert main(["--out", str(report)]) == 2
    assert "x.json: was changed after its run wrote it; run it again or delete it; left out" in capsys.readouterr().err
    assert {e["id"] for e in content(report)["evaluations"]} == ids


def test_only_a_report_is_replaced(report, here, sample_set, tmp_path, monkeypatch, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years")
    assert main(["--out", str(mine)]) == 2
    assert "no report of this suite" in capsys.readouterr().err
    assert [path.name for path in mine.iterdir()] == ["thesis.tex"]
    # Somebody else's page has the same names: a mark in it tells, not the layout.
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html><title>My page</title>")
    (page / "assets/photo.jpg").write_bytes(b"mine")
    assert main(["--out", str(page), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "holds files that are no report of this suite" in error
    assert error.count("\n") == 1
    assert (page / "assets/photo.jpg").read_bytes() == b"mine"
    assert (page / "index.html").read_text().endswith("My page</title>")
    # A report in the old one's place; and when its writing fails the old one stays, with nothing beside it.
    (report / "assets/pictures/old.jpg").write_bytes(b"")
    with (report / folder.LIST).open("a") as files:
        files.write("assets/pictures/old.jpg\n")
    assert main(["--out", str(report), "--data", str(sample_set), "--quiet"]) == 0
    assert not (report / "assets/pictures/old.jpg").exists()
    monkeypatch.setattr(folder.shutil, "copyfile", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert main(["--out", str(report), "--quiet"]) == 2
    assert (report / "index.html").is_file()
    assert not list(tmp_path.glob(".writing-*"))


def test_record_files_stay_in_their_folder():
    assert tables.record_file({"id": "../../x y/../z"}) == "records/.._.._x_y_.._z.json"


@pytest.fixture(scope="module")
def chromium():
    if not browser.executable():
        pytest.skip("no chromium on this machine; on Debian: apt-get install chromium")
    with browser.chromium() as page:
        yield page


@pytest.fixture
def page(chromium, report):
    """The report in the browser; at the end it must have complained of nothing and asked for its own files alone."""
    chromium.open(None)  # so that nothing of the page before is still on its way
    chromium.problems.clear()
    chromium.requests.clear()
    chromium.look(1600, "light")
    chromium.open(report / "index.html")
    yield chromium
    assert chromium.problems == []
    strangers = [url for url in chromium.requests if not url.startswith((report.as_uri() + "/", "data:"))]
    assert strangers == []


def column(page, table, title):
    """The texts of a column of the table in the element `table`, from top to bottom."""
    return page.run(f"""(() => {{
        const table = document.querySelector("#{table} table");
        const at = [...table.tHead.rows[0].cells].findIndex((c) => c.textContent === "{title}");
        return [...table.tBodies[0].rows].filter((r) => !r.hidden).map((r) => r.cells[at].textContent);
    }})()""")


def test_tables_sort_by_click_and_keyboard(page):
    miou = [f"{100 * r['miou']:.2f}" for r in records.read_records()]
    assert sorted(column(page, "sample", "mIoU")) == sorted(miou)
    head = "[...document.querySelectorAll('#sample thead th')].find((h) => h.textContent === 'mIoU')"
    page.run(f"{head}.firstChild.click()")
    assert column(page, "sample", "mIoU") == sorted(miou, key=float, reverse=True)
    assert page.run(f"{head}.getAttribute('aria-sort')") == "descending"
    page.run(f"{head}.firstChild.focus()")
    page.press("Enter")
    assert column(page, "sample", "mIoU") == sorted(miou, key=float)
    assert page.run(f"{head}.getAttribute('aria-sort')") == "ascending"
    page.run("document.querySelector('#published thead th:nth-child(5) button').click()")
    shown = [float(re.match(r"[\d.]+", text)[0]) for text in column(page, "published", "paper") if text != "–"]
    assert shown == sorted(shown, reverse=True)
    assert 20 < len(shown) <= 30, "the rest comes when it is asked for"
    page.run("document.querySelector('#published .rest').click()")
    assert len(column(page, "published", "paper")) == len(read_published())
    assert page.run("document.querySelector('#published .rest').hidden")


def _thousandths(value):
    """As Python and as JavaScript may round it."""
    return {f"{value:.3f}", f"{value + 1e-9:.3f}"}


def test_every_number_on_the_page_is_a_records(page):
    """Whatever stands in a column of numbers, in tables, heat map and speed, can be read off records and log."""
    stored = records.read_records()
    log = [json.loads(line)["seconds"] for line in Path("runs/tiny/log.jsonl").read_text().splitlines()]
    allowed = {
        "–",
        "4",
        "2",
        "65 × 65",
        *_thousandths(np.median(log)),
    }  # pictures, and steps, batch and crop of the run
    for r in stored:
        shares = [r["miou"], r["pixel_accuracy"], *(v for v in r["per_class_iou"].values() if v is not None)]
        allowed |= {f"{100 * v:.2f}" for v in shares} | {f"{100 * v:.0f}" for v in shares}
        allowed |= {
            *_thousandths(r["seconds"] / 4),
            f"{r['seconds']:g}",
            f"{r['peak_memory_mib']:,}",
            str(r["cores"]),
            "",
        }
    allowed |= {f"{row.miou:.2f}" for row in read_published()}
    shown = page.run("""[...document.querySelectorAll('main td.number, #heat td[tabindex]')]
        .filter((cell) => !cell.closest('.bench')).map((cell) => cell.textContent)""")
    assert len(shown) > 100
    assert set(shown) <= allowed


def test_filters(page):
    count = "document.getElementById('count').textContent"
    assert page.run(count) == "2 of 2 evaluations"
    page.run("document.querySelector('#filter input').focus()")
    page.type("MIRROR tiny")
    assert page.run(count) == "1 of 2 evaluations"
    assert column(page, "sample", "protocol") == ["native, scale 1 + mirror"]
    rows = "document.querySelectorAll('{} tbody tr').length"
    assert page.run(rows.format("#heat")) == 1
    page.run("document.querySelector('#filter').reset()")
    page.run("new Promise((done) => setTimeout(done, 50))")
    assert page.run(count) == "2 of 2 evaluations"
    assert page.run(rows.format("#heat")) == 2
    choose = """(() => {{ const field = document.querySelector('#filter').elements.{};
        field.value = '{}'; field.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()"""
    page.run(choose.format("mark", "none"))
    assert page.run(count) == "0 of 2 evaluations"
    page.run(choose.format("mark", "sample"))
    assert page.run(count) == "2 of 2 evaluations"
    published = page.run(rows.format("#published"))
    assert published == 0  # a published number has no mark of ours
    page.run(choose.format("mark", ""))
    page.run(choose.format("reproduction", "v3"))
    assert page.run(count) == "0 of 2 evaluations"
    assert page.run(rows.format("#published")) > 10


def test_details_and_commands(page):
    commands = {r["command"] for r in records.read_records()}
    page.run("document.querySelector('#sample button.open').focus()")
    page.press("Enter")
    assert page.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    assert page.run("document.querySelector('#sample tr.detail code').textContent") in commands
    link = page.run("document.querySelector('#sample tr.detail a').href")
    assert link.startswith("file://")
    assert link.endswith(".json")
    page.run("document.querySelector('#sample tr.detail button.copy').click()")
    page.run("new Promise((done) => setTimeout(done, 200))")
    assert "copied" in page.run("document.querySelector('#sample tr.detail button.copy').textContent")


def test_cells_are_read_by_keyboard_and_pointer(page):
    record = sorted(records.read_records(), key=results.record_order)[0]
    page.run("document.querySelector('#heat td[tabindex=\"0\"]').focus()")
    page.press("ArrowRight")
    said = page.run("document.getElementById('tip').textContent")
    assert said == f"Tiny small, background: {100 * record['per_class_iou']['background']:.2f} %"
    page.press("Escape")
    assert page.run("document.getElementById('tip').hidden")
    page.run("document.querySelector('#matrix').scrollIntoView()")
    x, y = page.run("""(() => { const box = document.querySelector('#matrix td.hit').getBoundingClientRect();
        return [box.x + 9, box.y + 9]; })()""")
    page.mouse("Moved", x, y)
    said = page.run("document.getElementById('tip').textContent")
    row = record["confusion_matrix"][0]
    share = f"{row[0]:,} of {sum(row):,} pixels, {100 * row[0] / sum(row):.2f} %"
    assert said == f"background predicted as background: {share}"
    occurring = sum(any(row) for row in record["confusion_matrix"])
    assert page.run("document.querySelectorAll('#matrix tbody tr').length") == occurring
    page.run("document.querySelector('#heat input').click()")  # all classes: those that do not occur are marked
    assert page.run("document.querySelectorAll('#heat tbody tr:first-child td.absent').length") == 21 - occurring


def test_the_slider_moves_by_keys_and_pointer(page):
    cut = "document.querySelector('.stage').style.getPropertyValue('--cut')"
    assert page.run(cut) == "50%"
    page.run("document.querySelector('.slider').focus()")
    page.press("ArrowRight")
    page.press("ArrowRight")
    assert page.run(cut) == "52%"
    page.press("Home")
    assert page.run(cut) == "0%"
    assert page.run("getComputedStyle(document.querySelector('.stage .left')).clipPath").startswith("inset(0px 100%")
    left, top, width = page.run("""(() => { const stage = document.querySelector('.stage');
        stage.scrollIntoView(); const box = stage.getBoundingClientRect(); return [box.x, box.y, box.width]; })()""")
    page.mouse("Pressed", left + width / 4, top + 120)
    page.mouse("Moved", left + width * 3 / 4, top + 120)
    page.mouse("Released", left + width * 3 / 4, top + 120)
    assert page.run(cut) in ("74%", "75%", "76%")
    page.mouse("Moved", left + 5, top + 120)
    assert page.run(cut) in ("74%", "75%", "76%")
    # Another picture, and the label on the right.
    before = page.run("document.querySelector('.stage .right .map').src")
    page.run("document.querySelector('.viewer [aria-label=\"Next picture\"]').click()")
    page.run("""(() => { const right = document.querySelectorAll('.sides select')[1];
        right.value = 'label'; right.dispatchEvent(new Event('change')); })()""")
    after = page.run("document.querySelector('.stage .right .map').src")
    assert after != before
    assert after.endswith("0-1-label.png")
    page.run("document.querySelector('.wall tbody tr:last-child button').click()")
    assert page.run("document.querySelector('.stage .left .map').src").endswith("0-3-0.png")


def test_curves_are_read_by_arrow_keys(page):
    log = [json.loads(line) for line in Path("runs/tiny/log.jsonl").read_text().splitlines()]
    page.run("document.querySelector('.chart svg[tabindex]').focus()")
    page.press("End")
    said = page.run("document.querySelector('.chart .reading').textContent")
    assert said.startswith("step 2: Tiny small ")
    assert float(said.split()[-1]) == pytest.approx(log[1]["pixel_loss"], rel=1e-3)
    assert page.run("document.querySelectorAll('#curves .chart svg[role=img]').length") == 4


def test_every_stop_of_the_tab_key_is_seen(page):
    """All controls can be reached by Tab, and each shows that it has the focus."""
    page.run("document.activeElement.blur()")
    seen = set()
    for _ in range(80):
        page.press("Tab")
        seen.add(
            page.run("""(() => { const at = document.activeElement; const style = getComputedStyle(at);
            const shown = parseFloat(style.outlineWidth) >= 1 && style.outlineStyle !== 'none';
            return `${at.tagName} ${at.className || at.name || at.type || ''} ${shown}`; })()""")
        )
    assert not [stop for stop in seen if stop.endswith(" false") and not stop.startswith("BODY")]
    assert {"A skip true", "INPUT text true", "BUTTON open true", "DIV scroll true"} <= seen


@pytest.mark.parametrize("width", [360, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_narrow_and_wide(page, report, tmp_path, width, scheme):
    page.look(width, scheme)
    page.open(report / "index.html")
    assert page.run("document.documentElement.scrollWidth") <= width
    if width < 560:  # then nothing scrolls sideways within the page either
        wide = (
            "[...document.querySelectorAll('main *')].filter(e => e.scrollWidth > e.clientWidth + 1 && "
            "['auto', 'scroll'].includes(getComputedStyle(e).overflowX)).length"
        )
        assert page.run(wide) == 0
        assert page.run(wide.replace("Width", "Height").replace("overflowX", "overflowY")) == 0
    shown = tmp_path / f"{width}-{scheme}.png"
    page.screenshot(shown)
    with Image.open(shown) as image:
        assert image.width == width
        assert image.height > 1000
        corner = np.asarray(image.convert("L"))[2, 2]
    assert corner > 200 if scheme == "light" else corner < 60


def test_it_prints(page, tmp_path):
    page.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_hostile_text_stays_text(chromium, here, sample_set, tmp_path, monkeypatch):
    """Titles, commands and class names from records are shown as they are, and run nowhere."""
    stored = records.read_records()
    monkeypatch.setenv("RESULTS_DIR", str(tmp_path / "hostile"))
    for number, record in enumerate(stored):
        iou = {(HOSTILE if name == "background" else name): v for name, v in record["per_class_iou"].items()}
        changes = {"title": HOSTILE, "id": f"../{HOSTILE}{number}", "command": HOSTILE, "per_class_iou": iou}
        record = record | changes | {"data": record["data"] | {"title": HOSTILE}}
        write_json(tmp_path / f"hostile/runs/{number}.json", {**record, "digest": records.digest(record)})
    write_json(tmp_path / "hostile/bench.json", {"cpu": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}})
    assert main(["--out", str(tmp_path / "r"), "--data", str(sample_set), "--quiet"]) == 0
    chromium.open(None)
    chromium.problems.clear()
    chromium.look(360, "light")
    chromium.open(tmp_path / "r/index.html")
    assert chromium.run("document.documentElement.scrollWidth") <= 360
    assert chromium.run("document.title") == "DeepLab reproductions: report"
    assert chromium.run("document.querySelectorAll('[onerror], main script').length") == 0
    assert chromium.run("document.querySelector('#sample tbody th').firstChild.textContent") == f"{HOSTILE} small"
    assert HOSTILE in chromium.run("document.querySelector('#heat thead').textContent")
    assert {path.parent.name for path in (tmp_path / "r").rglob("*.json")} == {"records"}
    assert chromium.problems == []


def test_the_page_without_records_loads(chromium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--out", "r"]) == 0
    chromium.open(None)
    chromium.problems.clear()
    chromium.open(tmp_path / "r/index.html")
    assert "make eval-all" in chromium.run("document.querySelector('#results details.note').textContent")
    assert chromium.problems == []
