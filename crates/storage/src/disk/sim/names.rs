//! The names of the simulated disk: folders as they look now, as they are on the medium, and the changes between.
//!
//! Invariants:
//! - A change of names is atomic (a rename never shows half), and changes reach the medium in the order they were made,
//!   folder by folder.
//! - A file whose name never reached the medium is gone after a crash, however often its bytes were synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path};
use std::sync::{Arc, Mutex};

use super::contents::FileData;
use crate::disk::DirEntry;
use crate::locks::lock;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DirId(u64);

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(Arc<Mutex<FileData>>),
    Dir(DirId),
}

#[derive(Debug, Default)]
struct Dir {
    live: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
}

/// One name in one folder becomes a node, or nothing.
#[derive(Debug)]
struct Edit {
    dir: DirId,
    name: String,
    node: Option<Node>,
}

/// Edits that reach the medium together.
type Change = Vec<Edit>;

/// Where a path leads: its folder and its last name.
pub(super) struct Place {
    dir: DirId,
    name: String,
}

#[derive(Debug)]
pub(super) struct Names {
    dirs: BTreeMap<DirId, Dir>,
    pending: Vec<Change>,
    next_dir: u64,
}

const ROOT: DirId = DirId(0);

impl Names {
    pub(super) fn new() -> Self {
        Self { dirs: BTreeMap::from([(ROOT, Dir::default())]), pending: Vec::new(), next_dir: 1 }
    }

    /// The folder and the last name of `path`; the folder must exist.
    pub(super) fn place(&self, path: &Path) -> io::Result<Place> {
        let mut names = parts(path)?;
        let name = names.pop().ok_or(ErrorKind::InvalidInput)?;
        let mut dir = ROOT;
        for name in names {
            dir = match self.live(dir, &name) {
                Some(Node::Dir(inner)) => inner,
                Some(Node::File(_)) => return Err(ErrorKind::NotADirectory.into()),
                None => return Err(ErrorKind::NotFound.into()),
            };
        }
        Ok(Place { dir, name })
    }

    fn live(&self, dir: DirId, name: &str) -> Option<Node> {
        self.dirs.get(&dir)?.live.get(name).cloned()
    }

    /// What has this name now.
    pub(super) fn node(&self, place: &Place) -> Option<Node> {
        self.live(place.dir, &place.name)
    }

    /// The file at `path`.
    pub(super) fn file(&self, path: &Path) -> io::Result<Arc<Mutex<FileData>>> {
        match self.node(&self.place(path)?) {
            Some(Node::File(data)) => Ok(data),
            Some(Node::Dir(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// The folder at `path`.
    fn dir(&self, path: &Path) -> io::Result<DirId> {
        if parts(path)?.is_empty() {
            return Ok(ROOT);
        }
        match self.node(&self.place(path)?) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let dir = self.dirs.get(&self.dir(path)?).ok_or(ErrorKind::NotFound)?;
        let entry =
            |(name, node): (&String, &Node)| DirEntry { name: name.clone(), is_dir: matches!(node, Node::Dir(_)) };
        Ok(dir.live.iter().map(entry).collect())
    }

    fn apply(&mut self, change: Change) {
        for Edit { dir, name, node } in &change {
            if let Some(dir) = self.dirs.get_mut(dir) {
                set(&mut dir.live, name, node.clone());
            }
        }
        self.pending.push(change);
    }

    /// Gives `place` to `node`, or to nobody. Not durable.
    pub(super) fn set(&mut self, place: Place, node: Option<Node>) {
        self.apply(vec![Edit { dir: place.dir, name: place.name, node }]);
    }

    /// Moves what is at `from` to `to`. Not durable.
    pub(super) fn rename(&mut self, from: Place, to: Place) -> io::Result<()> {
        let node = Some(self.node(&from).ok_or(ErrorKind::NotFound)?);
        self.apply(vec![
            Edit { dir: from.dir, name: from.name, node: None },
            Edit { dir: to.dir, name: to.name, node },
        ]);
        Ok(())
    }

    /// Makes the folder and its parents, durably.
    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut dir = ROOT;
        for name in parts(path)? {
            dir = match self.live(dir, &name) {
                Some(Node::Dir(inner)) => inner,
                Some(Node::File(_)) => return Err(ErrorKind::AlreadyExists.into()),
                None => {
                    let inner = DirId(self.next_dir);
                    self.next_dir += 1;
                    self.dirs.insert(inner, Dir::default());
                    self.apply(vec![Edit { dir, name, node: Some(Node::Dir(inner)) }]);
                    self.sync_one(dir);
                    inner
                }
            };
        }
        Ok(())
    }

    /// Removes the folder and what is in it, innermost first. Not durable.
    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let dir = match self.dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            dir => dir?,
        };
        self.empty(dir);
        let place = self.place(path)?;
        self.set(place, None);
        Ok(())
    }

    fn empty(&mut self, dir: DirId) {
        let entries = self.dirs.get(&dir).map(|dir| dir.live.clone()).unwrap_or_default();
        for (name, node) in entries {
            if let Node::Dir(inner) = node {
                self.empty(inner);
            }
            self.apply(vec![Edit { dir, name, node: None }]);
        }
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.dir(path)?;
        self.sync_one(dir);
        Ok(())
    }

    /// Makes the changes in `dir` durable, and with them those that they cannot come before: earlier changes of a
    /// folder that a rename also touched.
    fn sync_one(&mut self, dir: DirId) {
        let mut touched = BTreeSet::from([dir]);
        let mut due = Vec::new();
        let mut later = Vec::new();
        for change in std::mem::take(&mut self.pending).into_iter().rev() {
            if change.iter().any(|edit| touched.contains(&edit.dir)) {
                touched.extend(change.iter().map(|edit| edit.dir));
                due.push(change);
            } else {
                later.push(change);
            }
        }
        later.reverse();
        self.pending = later;
        due.into_iter().rev().for_each(|change| self.make_durable(change));
    }

    fn make_durable(&mut self, change: Change) {
        for Edit { dir, name, node } in change {
            if let Some(dir) = self.dirs.get_mut(&dir) {
                set(&mut dir.durable, &name, node);
            }
        }
    }

    /// Makes all changes durable.
    pub(super) fn sync_all(&mut self) {
        std::mem::take(&mut self.pending).into_iter().for_each(|change| self.make_durable(change));
    }

    /// How many changes are not durable.
    pub(super) fn pending_changes(&self) -> usize {
        self.pending.len()
    }

    /// The power goes when the first `kept` of the pending changes have reached the medium.
    pub(super) fn crash(&mut self, kept: usize) {
        for change in std::mem::take(&mut self.pending).into_iter().take(kept) {
            self.make_durable(change);
        }
        for dir in self.dirs.values_mut() {
            dir.live.clone_from(&dir.durable);
        }
        let mut reachable = BTreeSet::new();
        self.collect_dirs(ROOT, &mut reachable);
        self.dirs.retain(|dir, _| reachable.contains(dir));
    }

    fn collect_dirs(&self, dir: DirId, found: &mut BTreeSet<DirId>) {
        found.insert(dir);
        for node in self.dirs.get(&dir).into_iter().flat_map(|dir| dir.live.values()) {
            if let Node::Dir(inner) = node {
                self.collect_dirs(*inner, found);
            }
        }
    }

    /// Every file that a reader or the medium knows by a name. In the same order in every run.
    pub(super) fn files(&self) -> Vec<Arc<Mutex<FileData>>> {
        let mut files: Vec<Arc<Mutex<FileData>>> = Vec::new();
        let mut seen = BTreeSet::new();
        let pending = self.pending.iter().flatten().filter_map(|edit| edit.node.as_ref());
        let named = self.dirs.values().flat_map(|dir| dir.live.values().chain(dir.durable.values()));
        for node in named.chain(pending) {
            if let Node::File(data) = node
                && seen.insert(Arc::as_ptr(data) as usize)
            {
                files.push(Arc::clone(data));
            }
        }
        files
    }

    /// The space that all files take.
    pub(super) fn reserved_bytes(&self) -> u64 {
        let live = self.dirs.values().flat_map(|dir| dir.live.values());
        live.map(|node| match node {
            Node::File(data) => lock(data).reserved_bytes(),
            Node::Dir(_) => 0,
        })
        .sum()
    }
}

fn set(names: &mut BTreeMap<String, Node>, name: &str, node: Option<Node>) {
    match node {
        Some(node) => drop(names.insert(name.to_owned(), node)),
        None => drop(names.remove(name)),
    }
}

/// The names of a path from the root down; a relative path starts there too.
fn parts(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}
