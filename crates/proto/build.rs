//! Generates the gRPC code. protox reads the `.proto` files, so nobody has to install `protoc`.

#![allow(clippy::disallowed_methods, reason = "a build script writes what it makes")]

use std::error::Error;
use std::path::Path;
use std::{env, fs};

const ROOT: &str = "../../proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}");
    let public =
        ["common", "produce", "read", "admin", "group", "queue"].map(|name| format!("highwater/v1/{name}.proto"));
    let descriptors = protox::compile(public, [ROOT])?;
    let out = env::var("OUT_DIR")?;
    // Reflection serves these; what nodes say to each other is not among them.
    fs::write(Path::new(&out).join("highwater.bin"), prost::Message::encode_to_vec(&descriptors))?;
    let internal = protox::compile(["highwater/internal/v1/control.proto"], [ROOT])?;
    for descriptors in [descriptors, internal] {
        tonic_prost_build::configure()
            // A batch is a slice of the buffer it arrived in, not a copy of it.
            .bytes(".")
            .compile_fds(descriptors)?;
    }
    Ok(())
}
