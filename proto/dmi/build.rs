//! The services and messages from `dmi.proto`.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=dmi.proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Not protoc: Debian's comes without the definition of `google.protobuf.Any`.
    let descriptors = protox::compile(["dmi.proto"], ["."])?;
    std::fs::write(out.join("dmi.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Maps in order: equal messages have equal bytes.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
