"""People whose identifiers clash: what is found, what is said, and what is sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cio_dagster import Constant, ManualSegment, Object, Person
from cio_dagster.plan import IDENTITY
from cio_dagster.prepare.identity import PROBLEMS, consequence, in_words
from cio_dagster.report import plan_report
from tests.plans import Planned, plan_of, planned, sized

REJECT = Person(identity_checks="reject")


def people(rows: Mapping[Any, str | None], key: str = "id", attribute: str = "email") -> pl.DataFrame:
    return pl.DataFrame({key: list(rows), attribute: list(rows.values())}, schema=dict.fromkeys((key, attribute), pl.String))


def after(before: pl.DataFrame, now: pl.DataFrame, spec: Person) -> Planned:
    first = Person(**spec.model_dump() | {"identity_checks": "send"})
    return planned(now, spec, snapshot=planned(before, first).snapshot(None, first))


def reasons(plan: Planned) -> dict[str, str]:
    """Key to the reason why the row is rejected."""
    return {key: reject["reason"] for key, reject in plan.rejected.select("_key", "_reject").iter_rows()}


def message(plan: Planned, key: str) -> str:
    [reject] = plan.rejected.filter(pl.col("_key") == key)["_reject"]
    return str(reject["message"])


def found(frame: pl.DataFrame, spec: Person, folder: Path, snapshot: pl.DataFrame | None = None) -> dict[str, dict[str, Any]]:
    """What a report says, by problem."""
    plan = plan_of(frame, spec, folder, snapshot=snapshot)
    return {each["problem"]: each for each in plan_report(plan, spec, "people", None, None).identity}


def test_one_email_under_several_ids() -> None:
    frame = people({"1": "ada@x.org", "2": "ADA@x.org", "3": " ada@x.org ", "4": "bob@x.org", "5": None, "6": "", "7": " "})
    plan = planned(frame, REJECT)
    assert reasons(plan) == dict.fromkeys("123", "shared_email")
    assert message(plan, "1").startswith(
        "'email' is that of id '3' too. An unknown identifier with one that belongs to somebody re-labels"
    )
    assert message(plan, "3").startswith("'email' is that of id '1' too.")
    assert plan.keys("create") == {"4", "5", "6", "7"}


def test_ids_that_differ_by_case_or_spaces_only() -> None:
    plan = planned(pl.DataFrame({"id": ["Ab", "aB ", "\tab", "abc", "é", "É"]}), REJECT)
    assert reasons(plan) == dict.fromkeys(["Ab", "aB ", "\tab", "é", "É"], "similar_ids")
    assert message(plan, "é") == f"'id' is but for case or spaces 'É'. {consequence('similar_ids', REJECT)}"
    assert planned(pl.DataFrame({"id": [1, 2, 11]}), REJECT).counts.create == 3


def test_an_id_that_is_known_in_another_spelling() -> None:
    before = pl.DataFrame({"id": ["Ab", "c"]})
    plan = after(before, pl.DataFrame({"id": ["ab", "c"]}), REJECT)
    assert reasons(plan) == {"ab": "similar_ids"}
    assert "'Ab'" in message(plan, "ab")
    both = pl.DataFrame({"id": ["Ab", "ab", "AB"]})
    assert reasons(after(both, both, REJECT)) == dict.fromkeys(["Ab", "ab", "AB"], "similar_ids"), (
        "the source says so each time"
    )
    assert reasons(after(both, both.head(1), REJECT)) == {}, "of what was accepted before, it is too late"


def test_ids_that_look_like_emails() -> None:
    plan = planned(pl.DataFrame({"id": ["ada@x.org", "@ada", "a@b@c", "a b@c", "1"]}), REJECT)
    assert reasons(plan) == {"ada@x.org": "id_like_email"}
    assert "Track API v1" in message(plan, "ada@x.org")


def test_an_email_that_changed_for_a_known_id() -> None:
    before = people({"1": "ada@x.org", "2": "bob@x.org", "3": None, "4": "dan@x.org", "5": "eve@x.org"})
    now = people({"1": "ada@y.org", "2": " BOB@x.org", "3": "cy@x.org", "4": None, "5": "eve@x.org", "6": "fay@x.org"})
    plan = after(before, now, REJECT)
    assert reasons(plan) == {"1": "changed_email"}
    assert message(plan, "1").startswith(
        "'email' was 'ada@x.org' before, for the same id. An email that is set is changed only when"
    )
    assert "Allow updates to email using ID" in message(plan, "1")
    assert after(before, now, Person(identity_checks={"changed_email": "send"})).counts.rejected == 0


def test_an_email_that_is_cleared_is_not_another_one() -> None:
    spec = Person(identity_checks="reject", nulls="clear")
    plan = after(people({"1": "ada@x.org"}), people({"1": None}), spec)
    assert [body["attributes"] for body in plan.bodies()] == [{"email": None}]
    again = planned(people({"1": "b@x.org"}), spec, snapshot=plan.snapshot(None, spec))
    assert again.counts.update == 1, "nor is one that comes after it"


@pytest.mark.parametrize("there", [False, True], ids=["gone", "still there"])
def test_an_id_that_changed_for_a_known_email(there: bool) -> None:
    now = {"9": "ADA@x.org", "2": "bob@x.org"} | ({"1": "other@x.org"} if there else {})
    plan = after(people({"1": "ada@x.org", "2": "bob@x.org"}), people(now), REJECT)
    assert reasons(plan) == {"9": "changed_id"} | ({"1": "changed_email"} if there else {})
    assert message(plan, "9").startswith(
        "'email' is known under another 'id', '1'. An unknown identifier with one that belongs to"
    )


def test_a_known_row_that_takes_the_email_of_another() -> None:
    before = people({"1": "a@x.org", "2": "b@x.org"})
    plan = after(before, people({"1": "b@x.org", "2": "a@x.org"}), REJECT)
    assert reasons(plan) == {"1": "changed_email", "2": "changed_email"}
    moved = after(
        before,
        people({"1": "b@x.org", "2": "a@x.org"}),
        Person(identity_checks={"changed_email": "send", "changed_id": "reject"}),
    )
    assert reasons(moved) == {"1": "changed_id", "2": "changed_id"}


def test_rows_that_share_an_email_since_long_have_not_changed_it() -> None:
    both = people({"1": "a@x.org", "2": "a@x.org"})
    assert reasons(after(both, both, REJECT)) == {"1": "shared_email", "2": "shared_email"}
    assert reasons(after(both, both, Person(identity_checks={"changed_id": "reject", "changed_email": "reject"}))) == {}
    assert reasons(after(both, both.head(1), REJECT)) == {}


def test_a_sync_by_email_has_it_the_other_way_round() -> None:
    spec = Person(key="email", column="mail", attributes={"id": "number"}, identity_checks="reject")

    def by_mail(rows: Mapping[str, str | None]) -> pl.DataFrame:
        return people(rows, "mail", "number")

    plan = planned(
        by_mail({"a@x.org": "1", "b@x.org": "1", "c@x.org": "x", "d@x.org": "X", "e@x.org": "p@q", "f@x.org": None}), spec
    )
    assert reasons(plan) == {
        "a@x.org": "shared_id", "b@x.org": "shared_id", "c@x.org": "similar_ids", "d@x.org": "similar_ids", "e@x.org": "id_like_email"
    }  # fmt: skip
    assert message(plan, "a@x.org").startswith("'number' is that of email 'b@x.org' too.")
    assert message(plan, "c@x.org").startswith("'number' is but for case or spaces 'X'.")
    before = by_mail({"a@x.org": "1", "b@x.org": "2", "C@x.org": "3"})
    plan = after(before, by_mail({"A@x.org": "7", "new@x.org": "2", "c@X.org": "3"}), spec)
    assert reasons(plan) == {"a@x.org": "changed_id", "new@x.org": "changed_email"}
    assert message(plan, "a@x.org").startswith(
        "'number' was '1' before, for the same email. An identifier that is set is changed only when"
    )
    assert message(plan, "new@x.org").startswith("'number' is known under another 'mail', 'b@x.org'. An unknown identifier")


def test_by_cio_id_identifiers_may_change() -> None:
    spec = Person(key="cio_id", identity_checks="reject")
    frame = people({"a1": "a@x.org", "b2": "b@x.org"}, "cio_id")
    assert reasons(after(frame, people({"a1": "b@x.org", "b2": "c@x.org"}, "cio_id"), spec)) == {}
    assert reasons(planned(people({"a1": "a@x.org", "b2": "a@x.org"}, "cio_id"), spec)) == dict.fromkeys(
        ["a1", "b2"], "shared_email"
    )


def test_by_phone() -> None:
    spec = Person(key="phone", identity_checks="reject")
    before = people({"+4912": "a@x.org", "+4913": "b@x.org"}, "phone")
    plan = after(before, people({"+4912": "c@x.org", "+4914": "b@x.org"}, "phone"), spec)
    assert reasons(plan) == {"+4912": "changed_email"}
    assert "by cio_id; else" in message(plan, "+4912")


def test_rows_that_are_rejected_for_another_reason_are_in_nobodys_way() -> None:
    frame = people({"1": "a@x.org", "2": "a@x.org", "3": "b@x.org"}).with_columns(score=pl.Series([1.0, float("nan"), 1.0]))
    assert reasons(planned(frame, REJECT)) == {"2": "not_a_number"}
    twins = pl.concat([people({"1": "a@x.org", "2": "b@x.org"}), people({"1": "A@x.org", "2": "b@x.org"})])
    assert reasons(planned(twins, REJECT)) == dict.fromkeys("12", "duplicate_key")
    assert reasons(planned(pl.concat([twins, people({"3": "b@x.org"})]), REJECT)) == dict.fromkeys("12", "duplicate_key")


def test_of_rows_with_one_key_the_newest_counts() -> None:
    spec = Person(identity_checks="reject", keep_newest_by="at")
    frame = pl.DataFrame({"id": ["1", "1", "2"], "email": ["a@x.org", "b@x.org", "a@x.org"], "at": [1, 2, 1]})
    assert planned(frame, spec).reasons() == {0: "duplicate_key_not_newest"}
    assert planned(frame.with_columns(at=pl.Series([2, 1, 1])), spec).reasons() == {
        0: "shared_email", 1: "duplicate_key_not_newest", 2: "shared_email"
    }  # fmt: skip


def test_rejected_rows_are_not_taken_for_gone() -> None:
    spec = Person(behavior="mirror", delete_people=True, identity_checks="reject")
    plan = after(people({"1": "a@x.org", "2": "b@x.org"}), people({"1": "c@x.org", "9": "b@x.org"}), spec)
    assert reasons(plan) == {"1": "changed_email", "9": "changed_id"}
    assert plan.keys("delete") == {"2"}, "then the id that has the email is gone"
    left = plan.snapshot(planned(people({"1": "a@x.org", "2": "b@x.org"}), spec).snapshot(None, spec), spec)
    assert reasons(planned(people({"1": "c@x.org", "9": "b@x.org"}), spec, snapshot=left)) == {"1": "changed_email"}


def test_the_email_is_the_attribute_of_that_name() -> None:
    frame = pl.DataFrame({"id": ["1", "2"], "mail": ["a@x.org", "a@x.org"], "email": ["b@x.org", "c@x.org"]})
    plan = planned(frame, Person(attributes={"email": "mail"}, identity_checks="reject"))
    assert reasons(plan) == dict.fromkeys("12", "shared_email")
    assert {reject["field"] for reject in plan.rejected["_reject"]} == {"mail"}
    assert planned(frame, REJECT).counts.rejected == 0
    assert planned(frame, Person(attributes={"mail": "mail"}, identity_checks="reject")).counts.rejected == 0
    constant = Person(attributes={"email": Constant(value="a@x.org")}, identity_checks="reject")
    assert reasons(planned(frame, constant)) == dict.fromkeys("12", "shared_email")


def test_an_email_attribute_that_is_new_to_the_mapping() -> None:
    plan = after(people({"1": "a@x.org"}).select("id"), people({"1": "a@x.org", "2": "b@x.org"}), REJECT)
    assert (plan.counts.update, plan.counts.create, plan.counts.rejected) == (1, 1, 0)
    plan = after(people({"1": "a@x.org"}), people({"2": "a@x.org"}).select("id"), REJECT)
    assert (plan.counts.create, plan.counts.rejected) == (1, 0)


def test_no_identifier_needs_to_be_plain(tmp_path: Path) -> None:
    """Quotes, backslashes and braces are compared and shown as JSON has them."""
    frame = people({'a"': '"q"@x', "A\\": '"Q"@x', "{}": None, 'A"': None})
    assert reasons(planned(frame, REJECT)) == {'a"': "shared_email", "A\\": "shared_email", 'A"': "similar_ids"}


def test_other_specs_and_people_without_email_have_no_such_checks(tmp_path: Path) -> None:
    frame = people({"1": "a@x.org", "2": "a@x.org"})
    for spec in (ManualSegment(name="s"), Object(object_type_id=1, column="id")):
        assert not (plan_of(frame, spec, tmp_path).folder / IDENTITY).exists()
    assert not (plan_of(frame.select("id"), Person(), tmp_path).folder / IDENTITY).exists()
    assert not (plan_of(frame, Person(identity_checks="send"), tmp_path).folder / IDENTITY).exists()


def test_by_default_rows_are_sent_and_a_report_says_so(tmp_path: Path) -> None:
    frame = people(
        {"1": "ada@x.org", "2": "Ada@x.org", "a": "c@x.org", "A": "d@x.org", "p@q": "e@x.org", "ok": "f@x.org", "8": None}
    )
    plan = plan_of(frame, Person(), tmp_path)
    assert (plan.counts.create, plan.counts.rejected) == (7, 0)
    report = plan_report(plan, Person(), "people", None, None)
    assert {(each["problem"], each["field"], each["rows"], *each["examples"]) for each in report.identity} == {
        ("shared_email", "email", 2, "1", "2"),
        ("similar_ids", "id", 2, "a", "A"),
        ("id_like_email", "id", 1, "p@q"),
    }
    assert len(report.all_warnings) == 3
    assert (
        f"2 rows (such as 1, 2) share their email with another row. {consequence('shared_email', Person())}"
        in report.all_warnings
    )
    assert report.to_json()["warnings"] == report.all_warnings
    hidden = report.without_values()
    for key in ("1, 2", "(such as a", "p@q"):
        assert not any(key in warning for warning in hidden.all_warnings)
    assert [each["rows"] for each in hidden.identity] == [2, 2, 1]


def test_the_problems_of_rejected_rows_are_not_warned_about(tmp_path: Path) -> None:
    frame = people({"a@b": "x@x.org", "2": "x@x.org", "c@d": "y@x.org"})
    spec = Person(identity_checks={"shared_email": "reject", "similar_ids": "send"})
    assert {problem: each["rows"] for problem, each in found(frame, spec, tmp_path).items()} == {"id_like_email": 1}
    assert {problem: each["rows"] for problem, each in found(frame, Person(), tmp_path).items()} == {
        "id_like_email": 2, "shared_email": 2
    }  # fmt: skip


def test_a_row_counts_once_for_each_problem(tmp_path: Path) -> None:
    """The id is known in another spelling, and the source has a third."""
    snapshot = planned(pl.DataFrame({"id": ["Ab"]}), Person()).snapshot(None, Person())
    assert found(pl.DataFrame({"id": ["ab", "aB"]}), Person(), tmp_path, snapshot)["similar_ids"]["rows"] == 2


@pytest.mark.parametrize("wrong", ["ignore", {"shared_mail": "warn"}, {"shared_email": "drop"}])
def test_a_wrong_setting_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError, match="identity_checks"):
        Person(identity_checks=wrong)


@pytest.mark.parametrize("key", ["id", "email", "cio_id", "phone"])
def test_everything_has_words(key: Any) -> None:
    for problem in PROBLEMS:
        assert in_words(problem, Person(key=key))
        assert consequence(problem, Person(key=key)).endswith(".")


# Few values, so that they clash; those of the next table, so that they change.
IDS = st.sampled_from(["a", "A", " a", "b", "c", "d", "m@x", "M@x"])
EMAILS = st.sampled_from([None, "", "p@x", "P@x", " p@x", "q@x", "r@x", "s@x", "no"])
TABLES = st.lists(st.tuples(IDS, EMAILS, st.integers(0, 2)), max_size=9)
RULES = st.sampled_from(["warn", "reject", "send"])


def expected(rows: list[tuple[str, str | None]], known: dict[str, str | None]) -> dict[str, set[str]]:
    """Problem to the ids that have it, in plain Python."""
    problems: dict[str, set[str]] = {problem: set() for problem in PROBLEMS}
    emails = {who: email.strip().lower() for who, email in rows if email and email.strip()}
    held = {who: email.strip().lower() for who, email in known.items() if email and email.strip()}
    ids = {who for who, _ in rows}
    for who in ids:
        email = emails.get(who)
        if email and any(other != who and emails[other] == email for other in emails):
            problems["shared_email"].add(who)
        if email and who in held and held[who] != email:
            problems["changed_email"].add(who)
        if email and held.get(who) != email and email in held.values():
            problems["changed_id"].add(who)
        twins = {other for other in ids | (set(known) if who not in known else set()) if other != who}
        if any(other.strip().lower() == who.strip().lower() for other in twins):
            problems["similar_ids"].add(who)
        if "@" in who:
            problems["id_like_email"].add(who)
    return problems


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("size", ["as few rows", "as millions"])
@given(TABLES, TABLES, st.dictionaries(st.sampled_from(PROBLEMS), RULES))
def test_any_two_tables(size: str, before: list[Any], now: list[Any], rules: dict[Any, Any]) -> None:
    """The counts add up, and each row is rejected or warned about as a plain reading of the rules has it."""

    def table(rows: list[Any]) -> pl.DataFrame:
        schema = {"id": pl.String, "email": pl.String, "n": pl.Int64}
        return pl.DataFrame(rows, schema=schema, orient="row")

    loose, spec = Person(identity_checks="send"), Person(identity_checks=rules)
    with sized(size):
        snapshot = planned(table(before), loose).snapshot(None, loose)
        plain, plan = planned(table(now), loose, snapshot=snapshot), planned(table(now), spec, snapshot=snapshot)
    at_fault = {place: reason for place, reason in plan.reasons().items() if reason in PROBLEMS}
    assert {place: reason for place, reason in plan.reasons().items() if place not in at_fault} == plain.reasons()

    ready = [(row[0], row[1]) for place, row in enumerate(now) if place not in plain.reasons()]
    problems = expected(ready, dict(snapshot.select("_person", pl.col("email").str.strip_chars('"')).iter_rows()))
    wrong = {who for problem, people in problems.items() if rules.get(problem) == "reject" for who in people}
    assert {now[place][0] for place in at_fault} == wrong
    assert all(now[place][0] in problems[reason] and rules[reason] == "reject" for place, reason in at_fault.items())
    warned = plan.problems
    for problem, people in problems.items():
        assert warned.get(problem, set()) == (people - wrong if rules.get(problem, "warn") != "send" else set())
