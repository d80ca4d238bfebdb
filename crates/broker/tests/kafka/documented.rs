//! The table of `docs/kafka.md` is written from the table of the code, so that it cannot lie.

use std::path::Path;

use highwater_broker::front::kafka::api::Api;

const BEGIN: &str = "<!-- apis -->\n";
const END: &str = "<!-- end of apis -->";

#[test]
fn the_versions_that_are_documented_are_those_that_are_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kafka.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let mut table = String::from("| API | key | versions |\n|---|---|---|\n");
    for api in Api::ALL {
        let (first, last) = api.versions();
        table.push_str(&format!("| {} | {} | {first}–{last} |\n", api.name(), api.key()));
    }
    let due = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os("HIGHWATER_UPDATE").is_some() {
        std::fs::write(&path, due).unwrap();
    } else {
        assert_eq!(text, due, "write it anew: HIGHWATER_UPDATE=1 cargo test -p highwater-broker --test kafka");
    }
}
