//! The benchmark's figures: their names are a contract, and they are figures of what happened.

use serde_json::Value;

use crate::Fixture;

const KEYS: [&str; 7] =
    ["records_per_s", "mb_per_s", "p50_ms", "p99_ms", "p999_ms", "server_cpu_s_per_gib", "server_rss_peak_mib"];

fn figures(fixture: &Fixture, arguments: &[&str]) -> serde_json::Map<String, Value> {
    let text = fixture.text(&[&["bench"], arguments, &["-o", "json"]].concat());
    let Value::Object(figures) = serde_json::from_str(&text).unwrap() else { panic!("no object: {text}") };
    let keys: Vec<&str> = figures.keys().map(String::as_str).collect();
    let mut expected = KEYS;
    expected.sort_unstable();
    assert_eq!(keys, expected);
    for (key, value) in &figures {
        assert!(value.as_f64().is_some_and(|figure| figure >= 0.0), "{key} is no figure: {value}");
    }
    assert!(figures["records_per_s"].as_f64().unwrap() > 0.0);
    figures
}

#[test]
fn produce_measures_acknowledgements() {
    let fixture = Fixture::new();
    let figures = figures(&fixture, &["produce", "--size", "100", "--count", "20000", "--in-flight", "500"]);
    assert!(figures["p50_ms"].as_f64().unwrap() > 0.0);
    assert!(figures["server_rss_peak_mib"].as_f64().unwrap() > 1.0);
    assert_eq!(fixture.text(&["topic", "list", "-o", "json"]).trim(), "[]", "its topic is gone");
}

#[test]
fn consume_fills_and_drains_a_topic_of_its_own() {
    let fixture = Fixture::new();
    figures(&fixture, &["consume", "--size", "100", "--count", "20000", "--partitions", "2"]);
    assert_eq!(fixture.text(&["topic", "list", "-o", "json"]).trim(), "[]", "its topic is gone");
}

#[test]
fn consume_drains_a_topic_that_is_there_and_leaves_it() {
    let fixture = Fixture::new();
    fixture.topic("t");
    fixture.run_with(&["produce", "t"], &highwater_tests::text(5_000)).ok();
    figures(&fixture, &["consume", "--topic", "t", "--count", "5000"]);
    assert!(fixture.text(&["topic", "list"]).contains("\nt "), "a topic that was given stays");
}

#[test]
fn queue_gets_every_message_through() {
    let fixture = Fixture::new();
    let figures =
        figures(&fixture, &["queue", "--size", "100", "--count", "5000", "--partitions", "2", "--workers", "3"]);
    assert!(figures["p50_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(fixture.text(&["topic", "list", "-o", "json"]).trim(), "[]", "its topic is gone");
    assert_eq!(fixture.text(&["queue", "list", "-o", "json"]).trim(), "[]", "and what was known of its messages");
}

#[test]
fn latency_keeps_its_rate() {
    let fixture = Fixture::new();
    let figures = figures(&fixture, &["latency", "--rate", "500", "--seconds", "2", "--size", "100"]);
    let rate = figures["records_per_s"].as_f64().unwrap();
    assert!((250.0..=600.0).contains(&rate), "{rate}");
    assert!(figures["p999_ms"].as_f64().unwrap() >= figures["p50_ms"].as_f64().unwrap());
}
