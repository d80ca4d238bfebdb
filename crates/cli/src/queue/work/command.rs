//! One run of the command: the message in, an outcome out.
//!
//! Invariants: the command and what it starts are a process group of their own, so that Ctrl-C is the worker's to handle;
//! when the run is given up, the group is killed. What it says on standard error is passed on as it comes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use highwater_client::MessageOutcome;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin};

use super::tail::Tail;

/// "Temporary failure" of sysexits.h: it goes back, and that is nobody's fault.
const EXIT_RELEASE: i32 = 75;
/// A process that outlives the command may hold its standard error open; it is not waited for longer.
const STDERR_PATIENCE: Duration = Duration::from_millis(500);

/// What is run for each message.
#[derive(Debug)]
pub(super) struct Command {
    line: Vec<OsString>,
}

/// The command cannot be started, whatever the message.
#[derive(Clone, Debug)]
pub(super) struct Unstartable {
    /// The command.
    pub(super) command: String,
    /// Why.
    pub(super) cause: String,
}

impl Command {
    /// A program and its arguments.
    pub(super) fn new(line: Vec<OsString>) -> Self {
        Self { line }
    }

    /// Runs it with a value, and variables in its environment.
    pub(super) async fn run(
        &self,
        value: &[u8],
        variables: BTreeMap<String, OsString>,
    ) -> Result<MessageOutcome, Unstartable> {
        let mut child = match self.start(variables) {
            Ok(child) => child,
            Err(error) if is_the_callers(&error) => {
                let program = self.line.first().map(OsString::as_os_str).unwrap_or_default();
                return Err(Unstartable { command: program.to_string_lossy().into_owned(), cause: error.to_string() });
            }
            Err(error) => return Ok(MessageOutcome::fail(format_args!("the command cannot be started: {error}"))),
        };
        let group = Group::of(&child);
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let mut tail = Tail::default();
        let ended = {
            let (feeding, listening) = (feed(stdin, value), listen(stderr, &mut tail));
            tokio::pin!(feeding, listening);
            let (mut is_fed, mut has_heard_all) = (false, false);
            let ended = loop {
                tokio::select! {
                    ended = child.wait() => break ended,
                    () = &mut feeding, if !is_fed => is_fed = true,
                    () = &mut listening, if !has_heard_all => has_heard_all = true,
                }
            };
            if !has_heard_all {
                // What it said last may still be in the pipe.
                let _ = tokio::time::timeout(STDERR_PATIENCE, listening).await;
            }
            ended
        };
        group.let_go();
        Ok(match ended {
            Ok(status) => outcome(status, &tail),
            Err(error) => MessageOutcome::fail(format_args!("the command cannot be waited for: {error}")),
        })
    }

    fn start(&self, variables: BTreeMap<String, OsString>) -> io::Result<Child> {
        let (program, arguments) = self.line.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        tokio::process::Command::new(OsStr::new(program))
            .args(arguments)
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::inherit())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

/// Whether every other message would meet the same.
fn is_the_callers(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput)
}

fn outcome(status: ExitStatus, tail: &Tail) -> MessageOutcome {
    let said = tail.text();
    match (status.code(), status.signal()) {
        (Some(0), _) => MessageOutcome::Ack,
        (Some(EXIT_RELEASE), _) => MessageOutcome::Release,
        (Some(code), _) => MessageOutcome::fail(said.unwrap_or_else(|| format!("exit code {code}"))),
        (None, signal) => {
            let signal = signal.map_or_else(|| "a signal".to_owned(), |signal| format!("signal {signal}"));
            let said = said.map_or_else(String::new, |said| format!(": {said}"));
            MessageOutcome::fail(format_args!("killed by {signal}{said}"))
        }
    }
}

/// Gives the command its message. One that does not read it all has its reasons.
async fn feed(stdin: Option<ChildStdin>, value: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(value).await;
    }
}

/// Passes on what the command says, and keeps its end.
async fn listen(stderr: Option<ChildStderr>, tail: &mut Tail) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = [0; 4096];
    while let Ok(length) = stderr.read(&mut buffer).await {
        let heard = buffer.get(..length).unwrap_or_default();
        if heard.is_empty() {
            return;
        }
        tail.push(heard);
        let _ = io::stderr().lock().write_all(heard);
    }
}

/// The processes of one run; killed when the run is given up.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// The command has ended: what it left behind is its own affair.
    fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(raw: i32, said: &[u8]) -> MessageOutcome {
        let mut tail = Tail::default();
        tail.push(said);
        outcome(ExitStatus::from_raw(raw), &tail)
    }

    async fn run(script: &str, value: &[u8]) -> MessageOutcome {
        let command = Command::new(["sh", "-c", script].map(OsString::from).to_vec());
        let variables = BTreeMap::from([("HIGHWATER_KEY".to_owned(), OsString::from("anna"))]);
        command.run(value, variables).await.unwrap()
    }

    #[tokio::test]
    async fn the_command_gets_its_message() {
        let script = r#"test "$HIGHWATER_KEY" = anna && test "$(cat)" = tea"#;
        assert_eq!(run(script, b"tea").await, MessageOutcome::Ack);
        assert_eq!(run(script, b"coffee").await, MessageOutcome::fail("exit code 1"));
    }

    #[tokio::test]
    async fn what_it_says_last_is_the_reason() {
        assert_eq!(run("echo no paper >&2; exit 3", b"").await, MessageOutcome::fail("no paper"));
        assert_eq!(run("echo not my fault >&2; exit 75", b"").await, MessageOutcome::Release);
        assert_eq!(run("kill -9 $$", b"").await, MessageOutcome::fail("killed by signal 9"));
    }

    #[tokio::test]
    async fn a_value_that_nobody_reads_and_a_child_that_stays_hold_up_nothing() {
        let large = vec![b'x'; 1 << 20];
        assert_eq!(run("true", &large).await, MessageOutcome::Ack);
        assert_eq!(run("sleep 3 & exit 0", &large).await, MessageOutcome::Ack);
    }

    #[tokio::test]
    async fn a_command_that_is_not_there_is_no_fault_of_the_message() {
        let command = Command::new(vec!["/nowhere/at/all".into()]);
        let error = command.run(b"", BTreeMap::new()).await.unwrap_err();
        assert_eq!(error.command, "/nowhere/at/all");
    }

    #[tokio::test]
    async fn a_run_that_is_given_up_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let alive = folder.path().join("alive");
        let script = format!("(sleep 1; touch {path}.late) & touch {path}; wait", path = alive.display());
        let task = tokio::spawn(async move { run(&script, b"").await });
        while !alive.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert!(!alive.with_extension("late").exists());
    }

    #[test]
    fn the_exit_code_decides() {
        assert_eq!(ended(0, b"done, but I have something to say"), MessageOutcome::Ack);
        assert_eq!(ended(75 << 8, b""), MessageOutcome::Release);
        assert_eq!(ended(3 << 8, b"no paper\n"), MessageOutcome::fail("no paper"));
        assert_eq!(ended(3 << 8, b""), MessageOutcome::fail("exit code 3"));
        assert_eq!(ended(9, b"so f"), MessageOutcome::fail("killed by signal 9: so f"));
        assert_eq!(ended(15, b""), MessageOutcome::fail("killed by signal 15"));
    }
}
