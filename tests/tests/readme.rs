//! The README's section about clusters, followed word for word: its commands are taken from the page and run.
//!
//! Needs Docker and docker-compose; without them it says SKIPPED.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "it reads the tree")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use highwater_tests::cluster::ports;
use highwater_tests::compose::{available, root};

/// The words that the section's commands print when everything is there.
const PROOF: &str = "every record, once, in order";

/// The commands of the first `console` block after the heading that names a cluster.
fn commands(page: &str) -> Vec<&str> {
    let lines =
        page.lines().skip_while(|line| !(line.starts_with("## ") && line.to_lowercase().contains("three nodes")));
    let block = lines.skip_while(|line| *line != "```console").skip(1);
    block.take_while(|line| *line != "```").collect()
}

/// Takes away what the commands made, however they ended.
struct Project(String);

impl Drop for Project {
    fn drop(&mut self) {
        let mut down = Command::new("docker-compose");
        down.args(["down", "-v", "--remove-orphans", "--timeout", "5"]).current_dir(root().join("deploy"));
        let _ = down.env("COMPOSE_PROJECT_NAME", &self.0).output();
        let _ = std::fs::remove_file(root().join("deploy/read.txt"));
    }
}

#[test]
fn the_readmes_cluster_section_works_as_it_stands() {
    let page = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let commands = commands(&page);
    assert!(commands.len() > 5, "the section's commands were not found: {commands:?}");
    assert!(commands.iter().any(|line| line.contains(PROOF)), "the section proves nothing: {commands:?}");
    if let Err(why) = available() {
        // Not captured by the test runner: what was skipped must be seen.
        let why = why.lines().next().unwrap_or("");
        let _ = writeln!(std::io::stderr(), "SKIPPED: 1 test, the README's cluster section: {why}");
        return;
    }
    let project = Project(format!("highwater-readme-{}", std::process::id()));
    let mut shell = Command::new("bash");
    shell.args(["-euxo", "pipefail", "-c", &commands.join("\n")]).current_dir(root()).stdin(Stdio::null());
    // Names and ports that are nobody else's; the commands stay as they are.
    shell.env("COMPOSE_PROJECT_NAME", &project.0).env("HIGHWATER_PROFILE", "dev");
    for name in ["HIGHWATER_PORT_1", "HIGHWATER_PORT_2", "HIGHWATER_PORT_3"] {
        shell.env(name, ports::free().to_string());
    }
    let output = shell.output().expect("bash runs");
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains(PROOF), "{}\n{out}\n{log}", output.status);
}
