"""tinyattn compare --task recall: the tasks have the answers and the chance that they say, and the table tells what was learnt."""

import json
from collections import Counter

import numpy as np
import pytest

from tinyattn.catalog import find
from tinyattn.cli import main
from tinyattn.cli.comparing import learner, recall
from tinyattn.cli.comparing.tasks import KEYS, NEEDLES, ORDERS, tasks


def solved_by_hand(name, text, asked):
    """The answers to a text, found symbol by symbol."""
    told, questions = list(text[:len(text) - asked]), list(text[len(text) - asked:])
    if name == "recall":
        return [told[len(told) - 1 - told[::-1].index(key) + 1] for key in questions]
    if name == "copy":
        return [symbol for symbol in told if symbol < 4]
    if name == "induction":
        return [told[told.index(symbol) + 1] for symbol in questions]
    if name == "parity":
        return [sum(questions[: n + 1]) % 2 for n in range(asked)]
    if name == "needle":
        return [told[told.index(NEEDLES) + 1]]
    reached, answers = ORDERS[questions[0]], [questions[0]]
    for symbol in questions[1:]:
        reached = tuple(reached[place] for place in ORDERS[symbol])
        answers.append(ORDERS.index(reached))
    return answers


@pytest.mark.parametrize("name", tasks())
def test_a_text_determines_its_answers(name):
    task = tasks()[name]
    texts, answers = task.draw(np.random.default_rng(0), 40)
    assert answers.shape == (40, task.asked) and 0 <= texts.min() and texts.max() < task.vocab
    for text, want in zip(texts.tolist(), answers.tolist(), strict=True):
        assert solved_by_hand(name, text, task.asked) == want


@pytest.mark.parametrize("name", tasks())
def test_texts_are_seeded(name):
    first, same, other = (tasks()[name].draw(np.random.default_rng(seed), 8)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


@pytest.mark.parametrize("name", ["parity", "s3", "needle", "copy"])
def test_every_answer_is_as_likely_as_any_other(name):
    task, count = tasks()[name], 6000
    answers = task.draw(np.random.default_rng(0), count)[1][:, -1]
    share = np.array(list(Counter(answers.tolist()).values())) / count
    assert len(share) == task.choices
    assert np.abs(share - task.chance).max() < 5 * np.sqrt(task.chance / count)  # five standard deviations


def test_of_recall_a_guess_among_the_values_of_the_key_is_right_as_often_as_said():
    task = tasks(pairs=3, times=4)["recall"]
    texts, answers = task.draw(np.random.default_rng(0), 500)
    for text, asked, wanted in zip(texts[:, :-3], texts[:, -3:], answers, strict=True):
        for key, answer in zip(asked, wanted, strict=True):
            values = text[1::2][text[::2] == key]
            assert len(set(values)) == 4 and values[-1] == answer and key < KEYS
    assert task.chance == 0.25


@pytest.fixture
def shorter(monkeypatch):
    """Two steps per model, in this process."""
    monkeypatch.setattr(learner, "HELD", 16)
    monkeypatch.setattr(learner, "EVERY", 1)
    monkeypatch.setattr(recall.threads, "cores", lambda: 1)
    steps = learner.descend
    monkeypatch.setattr(learner, "descend", lambda *given, **options: steps(*given, **{**options, "steps": 2}))


def test_the_table_and_the_report_have_every_model(shorter, capsys, tmp_path):
    words = ["--mechanisms", "attention,delta_rule", "--tasks", "parity,recall", "--pairs", "2", "--seeds", "2", "--seed", "5"]
    assert main(["compare", "--task", "recall", *words, "--json", str(tmp_path / "a.json")]) == 0
    report, shown = json.loads((tmp_path / "a.json").read_text()), capsys.readouterr().out
    assert len(report["rows"]) == 3 * 2 * 2
    assert {row["seed"] for row in report["rows"]} == {5, 6}
    assert report["settings"]["tasks"]["parity"]["chance"] == 0.5
    assert report["settings"]["model"]["batch"] == learner.BATCH
    assert [(line["mechanism"], line["task"]) for line in report["table"]][:3] == [
        ("attention", "parity"), ("attention", "recall"), ("delta_rule", "parity")]
    for line in report["table"]:
        rows = [row["accuracy"] for row in report["rows"] if (row["mechanism"], row["task"]) == (line["mechanism"], line["task"])]
        assert line["accuracy"] == sum(rows) / 2
        assert line["verdict"] == recall.verdict(rows, report["settings"]["tasks"][line["task"]]["chance"], 2)
    for line in ("attention", "delta_rule, beta to 2", "(chance)", "solved: at least 0.95"):
        assert line in shown
    assert max(map(len, shown.split("\nparity")[0].splitlines())) <= 80


def test_an_interrupted_table_says_what_is_unfinished_and_is_resumed(shorter, monkeypatch, capsys, tmp_path):
    words, out = ["--mechanisms", "attention", "--tasks", "parity,needle"], tmp_path / "a.json"
    real, done = recall.learnt, []

    def interrupted(job):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(job)
        return real(job)

    monkeypatch.setattr(recall, "learnt", interrupted)
    assert main(["compare", "--task", "recall", *words, "--json", str(out)]) == 130
    shown, report = capsys.readouterr().out, json.loads(out.read_text())
    assert [line["verdict"] for line in report["table"]][1] == "unfinished"
    assert [line.split()[-1] for line in shown.splitlines() if line.startswith("attention ")] == ["?"]
    assert len(report["rows"]) == 4
    done.clear()
    monkeypatch.setattr(recall, "learnt", lambda job: done.append(job) or real(job))
    assert main(["compare", "--task", "recall", *words, "--resume", str(out), "--json", str(out)]) == 0
    assert [(job.task, job.seed) for job in done] == [("needle", 1), ("needle", 2)]
    whole = json.loads(out.read_text())
    assert whole["rows"][:4] == report["rows"] and len(whole["rows"]) == 6
    assert "unfinished" not in [line["verdict"] for line in whole["table"]]
    done.clear()
    assert main(["compare", "--task", "recall", *words, "--resume", str(out)]) == 0
    assert done == []
    capsys.readouterr()
    for changed, error in ((["--pairs", "2"], "its pairs are 4, these have 2"), ([], "is not a report")):
        if not changed:
            out.write_text("{}")
        assert main(["compare", "--task", "recall", *words, *changed, "--resume", str(out)]) == 2
        assert error in capsys.readouterr().err


def test_the_report_is_written_while_models_are_trained(shorter, monkeypatch, tmp_path):
    out, seen, real = tmp_path / "a.json", [], recall.learnt
    out.write_text("{}")

    def watched(job):
        seen.append(len(json.loads(out.read_text()).get("rows", ())))
        return real(job)

    monkeypatch.setattr(recall, "PATIENCE", 0.0)
    monkeypatch.setattr(recall, "learnt", watched)
    assert main(["compare", "--task", "recall", "--mechanisms", "attention", "--tasks", "parity", "--json", str(out)]) == 0
    assert seen == [0, 1, 2]


def test_a_seed_gives_the_same_model_again(shorter):
    job = recall.Job("linear_attention", False, "induction", 4, 3)
    first, again = (recall.learnt(job) for _ in range(2))
    assert {**first, "seconds": 0} == {**again, "seconds": 0}


def test_strengths_up_to_2_are_those_of_the_mechanism_itself():
    row = find("delta_rule")
    low, high = (next(x for x in recall.mixing_of(row, twice)["inputs"] if x.name == "beta") for twice in (False, True))
    x = np.linspace(-5.0, 5.0, 7)
    np.testing.assert_allclose(high.activation(x), 2 * low.activation(x))


@pytest.mark.parametrize(("words", "error"), [
    (["--tasks", "paritee"], "did you mean parity"), (["--pairs", "17"], "there are 16 keys"), (["--seeds", "0"], "1 or more"),
    (["--steps", "5"], "--task recall: each task has"), (["--mechanisms", "atention"], "did you mean attention"),
    (["--tasks", "parity,parity"], "named twice")])
def test_what_cannot_be_compared_is_refused(words, error, capsys):
    assert main(["compare", "--task", "recall", *words]) == 2
    assert error in capsys.readouterr().err


def test_the_options_of_recall_are_refused_elsewhere(capsys):
    assert main(["compare", "--pairs", "3"]) == 2
    assert "--pairs: is an option of --task recall" in capsys.readouterr().err
