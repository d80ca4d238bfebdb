//! Topics through the command line, and the JSON that scripts rely on.

use serde_json::Value;

use crate::Fixture;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_topic_is_made_shown_changed_and_deleted() {
    let fixture = Fixture::new();
    fixture.run(&["topic", "create", "orders", "-p", "3", "-r", "1", "-c", "retention.ms=3600000"]).ok();
    fixture.run_with(&["produce", "orders", "--partition", "1"], b"a\nb\n").ok();

    let shown = json(&fixture.text(&["topic", "describe", "orders", "-o", "json"]));
    assert_eq!(shown["topic"], "orders");
    let partitions = shown["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 3);
    for (number, partition) in partitions.iter().enumerate() {
        assert_eq!(partition["partition"], number);
        assert!(partition["leader"].is_u64(), "{partition}");
        assert_eq!(partition["replicas"].as_array().unwrap().len(), 1);
        assert_eq!(partition["log_start"], 0);
        assert_eq!(partition["high_watermark"], if number == 1 { 2 } else { 0 });
    }
    assert_eq!(setting(&shown, "retention.ms"), "3600000");

    fixture.run(&["topic", "alter", "orders", "-p", "5", "-c", "retention.ms=7200000"]).ok();
    let shown = json(&fixture.text(&["topic", "describe", "orders", "-o", "json"]));
    assert_eq!(shown["partitions"].as_array().unwrap().len(), 5);
    assert_eq!(setting(&shown, "retention.ms"), "7200000");

    let table = fixture.text(&["topic", "list"]);
    assert!(table.starts_with("TOPIC ") && table.contains("orders"), "{table}");
    let list = json(&fixture.text(&["topic", "list", "-o", "json"]));
    assert_eq!(list[0]["topic"], "orders");
    assert_eq!(list[0]["records"], 2);

    fixture.run(&["topic", "delete", "orders", "--yes"]).ok();
    assert_eq!(json(&fixture.text(&["topic", "list", "-o", "json"])), Value::Array(Vec::new()));
}

fn setting<'a>(shown: &'a Value, name: &str) -> &'a str {
    let settings = shown["config"].as_array().unwrap();
    settings.iter().find(|setting| setting["name"] == name).unwrap()["value"].as_str().unwrap()
}

#[test]
fn topics_outlive_a_crash() {
    let fixture = Fixture::new();
    fixture.run(&["topic", "create", "a", "-p", "2"]).ok();
    fixture.topic("b");
    fixture.run(&["topic", "delete", "b", "--yes"]).ok();
    let identity = |fixture: &Fixture| {
        let shown = json(&fixture.text(&["topic", "describe", "a", "-o", "json"]));
        (shown["id"].clone(), shown["partitions"].as_array().unwrap().len())
    };
    let before = identity(&fixture);
    let fixture = fixture.kill_and_restart();
    assert_eq!(identity(&fixture), before, "the same topic, not another of that name");
    let list = json(&fixture.text(&["topic", "list", "-o", "json"]));
    assert_eq!(list.as_array().unwrap().len(), 1, "what was deleted stays so: {list}");
}

#[test]
fn what_a_topic_cannot_be_is_refused_with_the_reason() {
    let fixture = Fixture::new();
    fixture.topic("t");
    let cases: [(&[&str], &[&str]); 6] = [
        (&["topic", "create", "t"], &["t", "exists"]),
        (&["topic", "create", "u", "-c", "retention.mss=1"], &["retention.mss", "retention.ms"]),
        (&["topic", "create", "u", "-c", "retention.ms=soon"], &["retention.ms", "soon"]),
        (&["topic", "create", "u", "-r", "3"], &["3", "1"]),
        (&["topic", "alter", "t", "--unset", "colour"], &["colour"]),
        (&["topic", "create", "u", "-p", "1000000"], &["1000000"]),
    ];
    for (arguments, words) in cases {
        let outcome = fixture.run(arguments);
        assert_eq!(outcome.code, Some(1), "{arguments:?}: {}", outcome.stderr);
        for word in words {
            assert!(outcome.stderr.contains(word), "{arguments:?} does not say {word:?}: {}", outcome.stderr);
        }
    }
    assert_eq!(json(&fixture.text(&["topic", "list", "-o", "json"])).as_array().unwrap().len(), 1);
}
