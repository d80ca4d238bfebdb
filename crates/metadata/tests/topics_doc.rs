//! The page about the settings of topics says what the table of settings says.

use highwater_metadata::settings::{Setting, Unit};

#[test]
fn the_page_has_a_line_for_every_setting() {
    let page = include_str!("../../../docs/topics.md");
    let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(lines.len(), Setting::ALL.len());
    for (setting, line) in Setting::ALL.iter().zip(lines) {
        let definition = setting.definition();
        let default = definition.default.to_string();
        let max = if definition.max == u64::MAX >> 1 { String::new() } else { format!(" to {}", definition.max) };
        let range = match (definition.may_be_unlimited, max.as_str()) {
            (true, "") => format!("from {}, or -1", definition.min),
            (false, "") => format!("from {}", definition.min),
            (_, max) => format!("{}{max}", definition.min),
        };
        let range = match definition.unit {
            Unit::Queues => "`none`, `interest`, `ack:G,H`".to_owned(),
            Unit::TimestampType => "`CreateTime`, `LogAppendTime`".to_owned(),
            Unit::Bytes | Unit::Milliseconds => range,
        };
        let expected = format!("| `{}` | {default} | {range} | {} |", definition.name, definition.description);
        assert_eq!(line, expected);
    }
}
