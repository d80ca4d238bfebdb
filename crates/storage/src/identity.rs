//! Who a data directory belongs to.
//!
//! Owns: the payload of the sealed file `identity`. Never: changes it. A node id that was wiped is not used again, so a
//! directory that comes back as somebody else is a mistake worth stopping for.
//!
//! A directory that is to join a cluster has its UUID before it has the rest: the file `joining` is an identity with an
//! empty cluster and node 0. It counts for nothing once `identity` is there.
//!
//! | bytes | field |
//! |---|---|
//! | 16 | cluster |
//! | 8 | node, little endian |
//! | 16 | node UUID |

use std::path::{Path, PathBuf};

use highwater_types::{ClusterId, NodeId, NodeUuid};
use thiserror::Error;

use crate::disk::Disk;
use crate::error::{Damage, FileError};
use crate::sealed_file::{self, FileKind};

const IDENTITY_BYTES: usize = 40;

/// The cluster, the node and the incarnation of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node in it.
    pub node: NodeId,
    /// This data directory: made once, when the node first starts on it.
    pub uuid: NodeUuid,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {} ({}) of cluster {}", self.node, self.uuid, self.cluster)
    }
}

/// Why an identity was not set.
#[derive(Debug, Error)]
pub enum SetIdentityError {
    /// The directory has another one already.
    #[error("{} says that this directory is {present}; it cannot become {wanted}", file.display())]
    AlreadySet {
        /// The identity file.
        file: PathBuf,
        /// What it says.
        present: Identity,
        /// What was asked for.
        wanted: Identity,
    },
    /// It cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Identity {
    /// Of a directory that has no place in a cluster yet.
    pub(crate) const fn joining(uuid: NodeUuid) -> Self {
        Self { cluster: ClusterId::from_bytes([0; 16]), node: NodeId::new(0), uuid }
    }

    pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, FileError> {
        let Some(sealed) = sealed_file::read(disk, path, FileKind::Identity)? else { return Ok(None) };
        let found = sealed.payload.len();
        let payload: [u8; IDENTITY_BYTES] = sealed.payload.as_ref().try_into().map_err(|_| {
            FileError::damaged(path, Damage::BadLength { expected: IDENTITY_BYTES as u64, found: found as u64 })
        })?;
        Ok(Some(Self::from_bytes(payload)))
    }

    pub(crate) fn write(&self, disk: &dyn Disk, path: &Path) -> Result<(), FileError> {
        sealed_file::write(disk, path, FileKind::Identity, &self.to_bytes())
    }

    fn to_bytes(self) -> [u8; IDENTITY_BYTES] {
        let mut bytes = [0; IDENTITY_BYTES];
        let (cluster, rest) = bytes.split_at_mut(16);
        let (node, uuid) = rest.split_at_mut(8);
        cluster.copy_from_slice(&self.cluster.to_bytes());
        node.copy_from_slice(&self.node.get().to_le_bytes());
        uuid.copy_from_slice(&self.uuid.to_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; IDENTITY_BYTES]) -> Self {
        let (mut cluster, mut node, mut uuid) = ([0; 16], [0; 8], [0; 16]);
        cluster.copy_from_slice(bytes.split_at(16).0);
        node.copy_from_slice(bytes.split_at(16).1.split_at(8).0);
        uuid.copy_from_slice(bytes.split_at(24).1);
        Self {
            cluster: ClusterId::from_bytes(cluster),
            node: NodeId::new(u64::from_le_bytes(node)),
            uuid: NodeUuid::from_bytes(uuid),
        }
    }
}
