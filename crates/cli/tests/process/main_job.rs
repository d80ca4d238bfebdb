//! The main job: a text of a million lines goes in and comes out byte for byte, from the start and from the middle,
//! before and after the node was killed.

use highwater_tests::{line_start, text};

use crate::{Fixture, assert_same};

const LINES: u64 = 1_000_000;

#[test]
fn a_million_lines_come_back_byte_for_byte() {
    let input = text(LINES);
    let fixture = Fixture::new();
    fixture.topic("book");
    let produced = fixture.run_with(&["produce", "book"], &input).ok();
    assert!(produced.stdout.is_empty(), "produce prints nothing on standard output");
    assert!(produced.stderr.contains("1000000 records"), "{}", produced.stderr);
    assert_same(&read(&fixture, "start"), &input);

    let fixture = fixture.kill_and_restart();
    assert_same(&read(&fixture, "start"), &input);

    let middle = LINES / 2;
    assert_same(&read(&fixture, &middle.to_string()), &input[line_start(&input, middle)..]);
    from_a_time(&fixture, &input, middle);
}

/// Reads from the time of the record at `middle`: from the first record that is not older.
fn from_a_time(fixture: &Fixture, input: &[u8], middle: u64) {
    let time: i64 = one(fixture, &middle.to_string(), "%T").parse().unwrap();
    let start = format!("@{time}");
    let first: u64 = one(fixture, &start, "%o").parse().unwrap();
    assert!(first <= middle, "the record at {middle} has that time itself");
    assert_eq!(one(fixture, &start, "%T").parse::<i64>().unwrap(), time);
    if first > 0 {
        let before: i64 = one(fixture, &(first - 1).to_string(), "%T").parse().unwrap();
        assert!(before < time, "the record before is older");
    }
    assert_same(&read(fixture, &start), &input[line_start(input, first)..]);
}

fn read(fixture: &Fixture, offset: &str) -> Vec<u8> {
    fixture.run(&["consume", "book", "--offset", offset, "--exit-at-end"]).ok().stdout
}

fn one(fixture: &Fixture, offset: &str, format: &str) -> String {
    fixture.text(&["consume", "book", "--offset", offset, "-n", "1", "-f", format])
}
