//! To come: a full disk.
