//! The README's sections about clusters and groups, followed word for word: their commands are taken from the page and run.
//!
//! Needs Docker and docker-compose; without them it says SKIPPED.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "it reads the tree")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use highwater_tests::cluster::ports;
use highwater_tests::compose::{PORT_VARIABLES, available, root};

/// The commands of the first `console` block after the heading that begins so.
fn commands<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    let lines = page.lines().skip_while(|line| !line.starts_with(heading));
    let block = lines.skip_while(|line| *line != "```console").skip(1);
    block.take_while(|line| *line != "```").collect()
}

/// Both build the same image and leave files in the same folder.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Takes away what the commands made, however they ended.
struct Project(String);

impl Drop for Project {
    fn drop(&mut self) {
        let mut down = Command::new("docker-compose");
        down.args(["down", "-v", "--remove-orphans", "--timeout", "5"]).current_dir(root().join("deploy"));
        let _ = down.env("COMPOSE_PROJECT_NAME", &self.0).output();
        for file in ["read.txt", "e-mail.txt", "inventory.txt", "invoice.txt"] {
            let _ = std::fs::remove_file(root().join("deploy").join(file));
        }
    }
}

#[test]
fn the_readmes_cluster_section_works_as_it_stands() {
    follow("## Three nodes", "every record, once, in order");
}

#[test]
fn the_readmes_section_about_groups_works_as_it_stands() {
    follow("## Groups", "every group saw every order, one of them again");
}

/// Runs the commands of a section, which print `proof` when everything is there.
fn follow(heading: &str, proof: &str) {
    let page = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let commands = commands(&page, heading);
    assert!(commands.len() > 5, "the section's commands were not found: {commands:?}");
    assert!(commands.iter().any(|line| line.contains(proof)), "the section proves nothing: {commands:?}");
    if let Err(why) = available() {
        // Not captured by the test runner: what was skipped must be seen.
        let why = why.lines().next().unwrap_or("");
        let _ = writeln!(std::io::stderr(), "SKIPPED: 1 test, the README's section '{heading}': {why}");
        return;
    }
    let _one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let project = Project(format!("highwater-readme-{}", std::process::id()));
    let mut shell = Command::new("bash");
    shell.args(["-euxo", "pipefail", "-c", &commands.join("\n")]).current_dir(root()).stdin(Stdio::null());
    // Names and ports that are nobody else's; the commands stay as they are.
    shell.env("COMPOSE_PROJECT_NAME", &project.0).env("HIGHWATER_PROFILE", "dev");
    for name in PORT_VARIABLES {
        shell.env(name, ports::free().to_string());
    }
    let output = shell.output().expect("bash runs");
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains(proof), "{}\n{out}\n{log}", output.status);
}
