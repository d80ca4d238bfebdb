//! Rounds: what they sync, in which order they release, and what a failure does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::io::IoSlice;
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::disk::sim::{CrashMode, Fault, SimDisk};

const DIR: &str = "/data";
/// Only how long a broken test hangs before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The smallest thing that can be flushed: one file, and what happens to it as words in a shared list.
struct Source {
    name: &'static str,
    path: Arc<Path>,
    file: Arc<dyn DiskFile>,
    state: Mutex<State>,
    events: Events,
    /// Runs when the source is asked what is pending.
    when_taken: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    fails_metadata: bool,
}

type Events = Arc<Mutex<Vec<String>>>;

#[derive(Default)]
struct State {
    pending: Vec<OnDurable>,
    taken: Vec<OnDurable>,
    bytes: u64,
}

impl Source {
    fn new(disk: &SimDisk, name: &'static str, events: &Events) -> Arc<Self> {
        Arc::new(Self::bare(disk, name, events))
    }

    fn bare(disk: &SimDisk, name: &'static str, events: &Events) -> Self {
        let path: Arc<Path> = Path::new(DIR).join(name).into();
        let file = disk.create(&path).unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
        let (state, when_taken) = (Mutex::default(), Mutex::default());
        Self { name, path, file, state, events: Arc::clone(events), when_taken, fails_metadata: false }
    }

    /// Appends one byte and says what became of it as `label`.
    fn append(self: &Arc<Self>, flusher: &Flusher, label: &str) {
        let events = Arc::clone(&self.events);
        let label = label.to_owned();
        self.append_then(
            flusher,
            Box::new(move |outcome| {
                let word = if outcome.is_ok() { "durable" } else { "refused" };
                lock(&events).push(format!("{label} {word}"));
            }),
        );
    }

    fn append_then(self: &Arc<Self>, flusher: &Flusher, on_durable: OnDurable) {
        let mut state = lock(&self.state);
        self.file.write_at(state.bytes, &mut [IoSlice::new(b"x")]).unwrap();
        state.bytes += 1;
        state.pending.push(on_durable);
        if state.pending.len() == 1 {
            flusher.mark_dirty(Arc::clone(self) as Arc<dyn Flushable>);
        }
    }
}

impl Flushable for Source {
    fn take_pending(&self, dirty: &mut Vec<DirtyFile>) {
        if let Some(hook) = lock(&self.when_taken).take() {
            hook();
        }
        let mut state = lock(&self.state);
        state.taken = std::mem::take(&mut state.pending);
        dirty.push(DirtyFile { path: Arc::clone(&self.path), file: Arc::clone(&self.file) });
    }

    fn write_metadata(&self) -> Result<(), FileError> {
        lock(&self.events).push(format!("{} metadata", self.name));
        if self.fails_metadata {
            return Err(FileError::Io {
                step: FileStep::Write,
                file: self.path.to_path_buf(),
                source: io::ErrorKind::StorageFull.into(),
            });
        }
        Ok(())
    }

    fn release(&self, outcome: Result<(), Poisoned>) {
        let taken = std::mem::take(&mut lock(&self.state).taken);
        taken.into_iter().for_each(|on_durable| on_durable(outcome.clone()));
    }
}

fn set_up(seed: u64) -> (SimDisk, Flusher, Events) {
    let disk = SimDisk::new(seed);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let flusher = Flusher::new(Arc::new(disk.clone()), Path::new(DIR), SyncFilesystem::Auto, Arc::default());
    (disk, flusher, Events::default())
}

fn size_after_crash(disk: &SimDisk, name: &str) -> u64 {
    disk.crash(CrashMode::LosePending);
    disk.reboot().open(&Path::new(DIR).join(name)).unwrap().size().unwrap()
}

#[test]
fn a_round_makes_durable_then_releases_in_order() {
    let (disk, flusher, events) = set_up(1);
    let (a, b) = (Source::new(&disk, "a", &events), Source::new(&disk, "b", &events));
    assert!(!flusher.run_round(), "there is nothing to do");
    a.append(&flusher, "a1");
    b.append(&flusher, "b1");
    a.append(&flusher, "a2");
    assert!(lock(&events).is_empty(), "nothing is released before a round");
    assert!(flusher.run_round());
    assert_eq!(*lock(&events), ["a metadata", "b metadata", "a1 durable", "a2 durable", "b1 durable"]);
    assert_eq!(flusher.counts(), FlushCounts { rounds: 1, file_syncs: 2, filesystem_syncs: 0 });
    assert!(!flusher.run_round());
    assert_eq!(size_after_crash(&disk, "a"), 2);
}

#[test]
fn many_dirty_files_are_one_sync_of_the_filesystem() {
    const NAMES: [&str; DIRTY_FILES_MAX + 1] = ["a", "b", "c", "d"];
    for (mode, expected) in [
        (SyncFilesystem::Auto, FlushCounts { rounds: 1, file_syncs: 0, filesystem_syncs: 1 }),
        (SyncFilesystem::Never, FlushCounts { rounds: 1, file_syncs: 4, filesystem_syncs: 0 }),
    ] {
        let (disk, _, events) = set_up(1);
        let flusher = Flusher::new(Arc::new(disk.clone()), Path::new(DIR), mode, Arc::default());
        for name in NAMES {
            Source::new(&disk, name, &events).append(&flusher, name);
        }
        flusher.run_round();
        assert_eq!(flusher.counts(), expected);
        assert_eq!(size_after_crash(&disk, "d"), 1);
    }
}

/// The trap of D7: a vote must not be durable before an append that was made before it, however the two meet a round.
#[test]
fn an_append_before_a_vote_is_in_its_round_or_earlier() {
    let (disk, flusher, events) = set_up(1);
    let flusher = Arc::new(flusher);
    let (log, votes) = (Source::new(&disk, "log", &events), Source::new(&disk, "votes", &events));
    // While the round asks for the votes, a log is appended to and a second vote is saved after it.
    let (late_log, late_votes, late_flusher) = (Arc::clone(&log), Arc::clone(&votes), Arc::clone(&flusher));
    *lock(&votes.when_taken) = Some(Box::new(move || {
        late_log.append(&late_flusher, "append");
        lock(&late_votes.state).pending.push(Box::new(|_| {}));
    }));
    lock(&votes.state).pending.push(Box::new(|_| {}));
    flusher.mark_votes_dirty(Arc::clone(&votes) as Arc<dyn Flushable>);
    flusher.run_round();
    assert_eq!(*lock(&events), ["log metadata", "votes metadata", "append durable"]);
    assert_eq!(size_after_crash(&disk, "log"), 1, "the append that came before the vote is durable with it");
}

#[test]
fn a_failed_sync_refuses_all_and_is_never_tried_again() {
    let (disk, flusher, events) = set_up(1);
    let (heard, hearing) = mpsc::channel();
    flusher.on_poison(Box::new(move |cause| heard.send(cause.reason().to_owned()).unwrap()));
    let (a, b) = (Source::new(&disk, "a", &events), Source::new(&disk, "b", &events));
    a.append(&flusher, "a1");
    b.append(&flusher, "b1");
    disk.schedule(Fault::SyncError, 2);
    flusher.run_round();
    assert_eq!(*lock(&events), ["a1 refused", "b1 refused"], "not even the file whose sync worked");
    assert_eq!(hearing.recv().unwrap(), "cannot sync /data/b: Input/output error (os error 5)");
    let counts = flusher.counts();
    a.append(&flusher, "a2");
    flusher.run_round();
    assert_eq!(lock(&events)[2..], ["a2 refused"]);
    assert_eq!(flusher.counts(), counts, "no sync after the failed one");
    assert!(flusher.poisoned().is_some());
}

#[test]
fn a_failed_sync_of_the_filesystem_or_of_metadata_poisons_too() {
    let (disk, flusher, events) = set_up(1);
    for name in ["a", "b", "c", "d"] {
        Source::new(&disk, name, &events).append(&flusher, name);
    }
    disk.schedule(Fault::SyncError, 1);
    flusher.run_round();
    assert_eq!(lock(&events).iter().filter(|event| event.ends_with("refused")).count(), 4);
    assert!(flusher.poisoned().unwrap().reason().contains("sync the filesystem of /data"));

    let (disk, flusher, events) = set_up(1);
    let a = Arc::new(Source { fails_metadata: true, ..Source::bare(&disk, "a", &events) });
    a.append(&flusher, "a1");
    flusher.run_round();
    assert_eq!(*lock(&events), ["a metadata", "a1 refused"]);
    assert!(flusher.poisoned().unwrap().reason().contains("/data/a"));
}

/// A file whose write-back has failed. As the kernel does, it says so once: a second sync says `Ok`, here while the first
/// is still on its way back.
#[derive(Debug)]
struct FailsOnce {
    inner: Arc<dyn DiskFile>,
    has_failed: AtomicBool,
    failing: mpsc::SyncSender<()>,
}

impl DiskFile for FailsOnce {
    fn write_at(&self, position: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.inner.write_at(position, slices)
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(position, buffer)
    }

    fn allocate(&self, range: std::ops::Range<u64>) -> io::Result<()> {
        self.inner.allocate(range)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.has_failed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.failing.send(()).unwrap();
        let (_kept, nothing) = mpsc::channel::<()>();
        let _time_has_passed = nothing.recv_timeout(Duration::from_millis(100));
        Err(io::ErrorKind::Other.into())
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn map(&self, bytes: u64) -> io::Result<Arc<dyn crate::disk::FileView>> {
        self.inner.map(bytes)
    }
}

#[test]
fn a_sync_beside_one_that_fails_does_not_take_its_file_for_durable() {
    let (disk, flusher, events) = set_up(1);
    let mut source = Source::bare(&disk, "a", &events);
    let (failing, heard) = mpsc::sync_channel(1);
    let inner = Arc::clone(&source.file);
    source.file = Arc::new(FailsOnce { inner, has_failed: AtomicBool::new(false), failing });
    let source = Arc::new(source);
    source.append(&flusher, "one");
    let dirty = [DirtyFile { path: Arc::clone(&source.path), file: Arc::clone(&source.file) }];
    thread::scope(|scope| {
        let writer = scope.spawn(|| flusher.sync_files(&dirty));
        heard.recv_timeout(PATIENCE).unwrap();
        flusher.run_round();
        assert!(writer.join().unwrap().is_err());
    });
    assert_eq!(*lock(&events), ["one refused"]);
}

#[test]
fn a_panic_poisons_and_still_releases() {
    let (disk, flusher, events) = set_up(1);
    let (a, b) = (Source::new(&disk, "a", &events), Source::new(&disk, "b", &events));
    a.append(&flusher, "a1");
    *lock(&b.when_taken) = Some(Box::new(|| panic!("a bug in a log")));
    b.append(&flusher, "b1");
    flusher.run_round();
    assert_eq!(*lock(&events), ["a1 refused"], "b never got to set its callback aside");
    assert!(flusher.poisoned().is_some());
    b.append(&flusher, "b2");
    flusher.mark_dirty(b);
    flusher.run_round();
    assert_eq!(lock(&events)[1..], ["b1 refused", "b2 refused"]);
}

#[test]
fn a_panicking_callback_does_not_change_what_the_others_hear() {
    let (disk, flusher, events) = set_up(1);
    let (a, b) = (Source::new(&disk, "a", &events), Source::new(&disk, "b", &events));
    a.append_then(&flusher, Box::new(|_| panic!("a bug in a replica")));
    b.append(&flusher, "b1");
    flusher.run_round();
    assert_eq!(*lock(&events), ["a metadata", "b metadata", "b1 durable"]);
    assert!(flusher.poisoned().is_some());
}

#[test]
fn the_thread_runs_rounds_when_woken_and_a_last_one_when_stopped() {
    let (disk, flusher, events) = set_up(1);
    flusher.start_thread().unwrap();
    flusher.start_thread().unwrap();
    let source = Source::new(&disk, "a", &events);
    for number in 0..200u32 {
        let (done, waiting) = mpsc::channel();
        source.append_then(&flusher, Box::new(move |outcome| done.send(outcome).unwrap()));
        assert_eq!(waiting.recv_timeout(PATIENCE), Ok(Ok(())), "append {number}");
    }
    source.append(&flusher, "last");
    flusher.stop();
    assert_eq!(*lock(&events).last().unwrap(), "last durable");
    assert_eq!(size_after_crash(&disk, "a"), 201);
    flusher.stop();
}

#[test]
fn the_last_handle_may_go_in_a_callback() {
    let (disk, flusher, events) = set_up(1);
    flusher.start_thread().unwrap();
    let flusher = Arc::new(flusher);
    let source = Source::new(&disk, "a", &events);
    let (done, waiting) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let last = Arc::clone(&flusher);
    source.append_then(
        &flusher,
        Box::new(move |_| {
            let _until_the_test_let_go = gone.recv();
            drop(last);
            done.send(()).unwrap();
        }),
    );
    drop(flusher);
    drop(go);
    assert_eq!(waiting.recv_timeout(PATIENCE), Ok(()));
}

#[test]
fn appends_from_many_threads_are_all_released_and_share_rounds() {
    const PER_THREAD: u32 = 500;
    let (disk, flusher, events) = set_up(1);
    flusher.start_thread().unwrap();
    let sources = ["a", "b", "c", "d"].map(|name| Source::new(&disk, name, &events));
    let (done, waiting) = mpsc::channel();
    thread::scope(|scope| {
        for source in &sources {
            let (done, flusher) = (done.clone(), &flusher);
            scope.spawn(move || {
                for _ in 0..PER_THREAD {
                    let done = done.clone();
                    source.append_then(flusher, Box::new(move |outcome| done.send(outcome).unwrap()));
                }
            });
        }
    });
    drop(done);
    flusher.stop();
    let outcomes: Vec<_> = waiting.iter().collect();
    assert_eq!(outcomes.len(), 4 * PER_THREAD as usize);
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(size_after_crash(&disk, "d"), u64::from(PER_THREAD));
}
