//! Rules of the tree that no compiler checks: the arrows between crates, module docs, sizes, and where `unsafe` may be.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "it reads the tree")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which of our crates each crate may use in the product. What is not listed here fails.
const ARROWS: &[(&str, &[&str])] = &[
    ("base2histogram", &[]),
    ("golden", &[]),
    ("types", &[]),
    ("storage", &["types"]),
    ("metadata", &["types"]),
    ("groups", &["types"]),
    ("proto", &[]),
    ("client", &["types", "proto"]),
    ("broker", &["types", "storage", "metadata", "groups", "proto"]),
    ("cli", &["types", "storage", "broker", "client"]),
];

/// What a crate that must not wait may never depend on.
const ASYNC_CRATES: &[&str] = &["tokio", "tokio-util", "tokio-stream", "futures-util", "tonic", "openraft"];
const SYNC: &[&str] = &["types", "storage", "metadata", "groups"];

/// The only file that may hold `unsafe`.
const UNSAFE_FILE: &str = "crates/storage/src/disk/map.rs";

/// Lines of one file, without its test module.
const FILE_LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a member of the workspace").to_owned()
}

/// Every source file of the tree, by its path from the root.
fn sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = ["crates", "tests", "fuzz"].iter().map(|name| root().join(name)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.insert(name, std::fs::read_to_string(&path).expect("source code is text"));
            }
        }
    }
    assert!(found.len() > 20, "the tree was not found: {} files below {}", found.len(), root().display());
    found
}

/// The names in one table of a manifest, such as `dependencies`.
fn table(manifest: &str, name: &str) -> Vec<String> {
    let head = format!("[{name}]");
    let lines = manifest.lines().skip_while(|line| line.trim() != head).skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn manifests() -> Vec<(String, String)> {
    let crates = std::fs::read_dir(root().join("crates")).expect("the folder of the crates");
    let folders = crates.map(|entry| entry.expect("a readable folder").path());
    folders
        .map(|folder| {
            let text = std::fs::read_to_string(folder.join("Cargo.toml")).expect("every crate has a manifest");
            (folder.file_name().expect("a name").to_string_lossy().into_owned(), text)
        })
        .collect()
}

#[test]
fn crates_use_only_what_the_arrows_allow() {
    for (name, manifest) in manifests() {
        let allowed = ARROWS.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
        let allowed = allowed.unwrap_or_else(|| panic!("crates/{name} is new: say in {} what it may use", file!()));
        for used in table(&manifest, "dependencies") {
            let Some(used) = used.strip_prefix("highwater-") else { continue };
            assert!(allowed.contains(&used), "crates/{name} must not use crates/{used}; see docs/architecture.md");
        }
    }
}

#[test]
fn crates_that_must_not_wait_have_no_async_dependency() {
    for (name, manifest) in manifests() {
        for used in table(&manifest, "dependencies") {
            let is_fine = !SYNC.contains(&name.as_str()) || !ASYNC_CRATES.contains(&used.as_str());
            assert!(is_fine, "crates/{name} is synchronous and must not use {used}");
        }
    }
}

#[test]
fn the_reader_of_manifests_sees_dependencies() {
    let manifest =
        "[lints]\nworkspace = true\n\n[dependencies]\nbytes.workspace = true\na-b = { path = \"x\" }\n\n[dev]\nx = 1\n";
    assert_eq!(table(manifest, "dependencies"), ["bytes", "a-b"]);
    assert!(table(manifest, "build-dependencies").is_empty());
}

#[test]
fn every_module_says_what_it_owns() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| {
            let first = text.lines().find(|line| !line.is_empty() && !line.starts_with("#!["));
            !first.is_some_and(|line| line.starts_with("//!"))
        })
        .map(|(name, _)| name)
        .collect();
    assert!(silent.is_empty(), "these files do not begin with a //! doc: {silent:#?}");
}

#[test]
fn no_file_is_long() {
    let mut long = Vec::new();
    for (name, text) in sources() {
        if name.contains("tests") {
            continue;
        }
        let lines = text.lines().position(|line| line == "#[cfg(test)]").unwrap_or_else(|| text.lines().count());
        if lines > FILE_LINES_MAX {
            long.push(format!("{name}: {lines} lines"));
        }
    }
    assert!(long.is_empty(), "at most {FILE_LINES_MAX} lines a file, without its tests: {long:#?}");
}

#[test]
fn unsafe_stands_in_one_file() {
    for (name, text) in sources() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let has_unsafe = code.into_iter().any(|line| {
            let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            !line.contains('"') && words.into_iter().any(|word| word == "unsafe")
        });
        assert!(!has_unsafe || name == UNSAFE_FILE, "{name} holds `unsafe`; only {UNSAFE_FILE} may");
    }
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    // Spelled in two parts, so that this file does not find itself.
    let homes = [["/ho", "me/"].concat(), ["/ro", "ot/"].concat(), ["/Us", "ers/"].concat(), ["/wo", "rk/"].concat()];
    for (name, text) in sources() {
        for home in &homes {
            assert!(!text.contains(home.as_str()), "{name} holds a path of one machine: {home}");
        }
    }
}
