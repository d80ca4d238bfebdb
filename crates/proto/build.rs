//! Generates the gRPC code. protox reads the `.proto` files, so nobody has to install `protoc`.

#![allow(clippy::disallowed_methods, reason = "a build script writes what it makes")]

use std::error::Error;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../proto";
    let files = ["common", "produce", "read", "admin"].map(|name| format!("highwater/v1/{name}.proto"));
    println!("cargo:rerun-if-changed={root}");
    let descriptors = protox::compile(files, [root])?;
    let out = env::var("OUT_DIR")?;
    // Reflection serves these.
    fs::write(Path::new(&out).join("highwater.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure()
        // A batch is a slice of the buffer it arrived in, not a copy of it.
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
