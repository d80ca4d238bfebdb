//! The sample file: every setting with its documentation and its default, written from the table.

use super::raw::OPTIONS;

/// The text of `deploy/highwater.toml`.
#[must_use]
pub fn sample() -> String {
    let mut text = String::from(
        "# Highwater: every setting with its default. Uncomment what you change.\n\
         #\n\
         # An environment variable goes before this file: HIGHWATER_GRPC__LISTEN is grpc.listen. A flag goes before both.\n\
         # `highwater config` prints the result and where each value came from.\n",
    );
    let mut section = "";
    for option in OPTIONS {
        if option.section != section {
            section = option.section;
            text.push_str(&format!("\n[{section}]\n"));
        } else {
            text.push('\n');
        }
        for line in option.documentation {
            text.push_str(&format!("#{line}\n"));
        }
        text.push_str(&format!("# {} = {}\n", option.name, option.default));
    }
    text
}
