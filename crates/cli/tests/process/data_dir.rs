//! To come: damaged data directories.
