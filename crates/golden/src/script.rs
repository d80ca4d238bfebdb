//! Transcripts: a line that starts with `>` is a command, the lines under it are what comes of it, `#` is a remark.

use std::fs;
use std::path::Path;

use crate::is_update;

/// Replays every script of a folder, each from a new start, and compares it with what is kept. `folder` is the place of
/// the scripts in the crate `home`; there are `scripts_min` at the least.
///
/// # Panics
/// When what comes of a command differs, with the file and the line; when there are too few scripts.
pub fn replay_all<State>(
    home: &str,
    folder: &str,
    scripts_min: usize,
    start: impl Fn() -> State,
    run: impl Fn(&mut State, &str) -> String,
) {
    let mut count = 0;
    for entry in fs::read_dir(Path::new(home).join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let kept = fs::read_to_string(&path).unwrap();
        let mut state = start();
        let found = replay(&kept, |command| run(&mut state, command));
        if is_update() {
            fs::write(&path, &found).unwrap();
        } else if let Some((line, kept, found)) = difference(&kept, &found) {
            panic!("{}:{line}\n expected: {kept}\n    found: {found}", path.display());
        }
        count += 1;
    }
    assert!(count >= scripts_min, "only {count} scripts were found");
}

/// The script again, with what came of each command under it.
fn replay(script: &str, mut run: impl FnMut(&str) -> String) -> String {
    let mut text = String::new();
    for line in script.lines() {
        match line.strip_prefix("> ") {
            Some(command) => text.extend([line, "\n", &run(command)]),
            None if line.is_empty() || line.starts_with('#') => text.extend([line, "\n"]),
            None => {} // what came of it last time
        }
    }
    text
}

/// The number of the first line that differs, and that line of each.
fn difference<'a>(kept: &'a str, found: &'a str) -> Option<(usize, &'a str, &'a str)> {
    let kept = kept.lines().chain(["(end)"]);
    let pairs = (1..).zip(kept.zip(found.lines().chain(["(end)"])));
    pairs.map(|(number, (kept, found))| (number, kept, found)).find(|(_, kept, found)| kept != found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_what_came_of_its_commands() {
        let script = "# counts\n> one\nold\nolder\n\n> two\n";
        let mut count = 0;
        let found = replay(script, |command| {
            count += 1;
            format!("  {command} {count}\n")
        });
        assert_eq!(found, "# counts\n> one\n  one 1\n\n> two\n  two 2\n");
        assert_eq!(difference(script, &found), Some((3, "old", "  one 1")));
        assert_eq!(difference(&found, &found), None);
        assert_eq!(difference("a\n", "a\nb\n"), Some((2, "(end)", "b")));
    }
}
