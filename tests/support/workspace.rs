//! Where things are in the workspace.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The top level folder.
#[must_use]
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("tests is in the workspace")
        .to_owned()
}

/// Reads a file of the workspace.
///
/// # Panics
/// The file can't be read.
#[must_use]
pub fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Where cargo puts the binaries of the profile that the tests were built with.
///
/// # Panics
/// The test executable is not where cargo puts it.
#[must_use]
pub fn target_profile() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let deps = test.parent().expect("the test is in deps");
    deps.parent().expect("deps is in the profile").to_owned()
}

/// A binary that the build made before the tests.
///
/// # Panics
/// It was not built: run the tests through `make test`.
#[must_use]
pub fn built(path: &Path) -> PathBuf {
    assert!(
        path.is_file(),
        "{} is not built; run `make test`, which builds it first",
        path.display()
    );
    path.to_owned()
}

/// A function's binary as `cargo lambda build --release` makes it for Lambda.
///
/// # Panics
/// It was not built.
#[must_use]
pub fn released(function: &str) -> PathBuf {
    lambda("lambda", function)
}

/// An example of a function, made in the same way.
///
/// # Panics
/// It was not built.
#[must_use]
pub fn released_example(example: &str) -> PathBuf {
    lambda("lambda-examples", example)
}

fn lambda(folder: &str, name: &str) -> PathBuf {
    let target = target_profile();
    let target = target.parent().expect("the profile is in target");
    built(&target.join(folder).join(name).join("bootstrap"))
}

/// The crates that a function is built of, as `name version` lines.
///
/// # Panics
/// Cargo can't tell.
#[must_use]
pub fn crates_of(function: &str) -> BTreeSet<String> {
    let tree = cargo(&[
        "tree",
        "--locked",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--package",
        function,
    ]);
    // A mark of cargo's for what stood before.
    let name = |line: &str| line.trim_end_matches(" (*)").to_owned();
    tree.lines().map(name).collect()
}

/// Where the source of a crate is that the tests are built of.
///
/// # Panics
/// Cargo can't tell.
#[must_use]
pub fn source_of(name: &str) -> PathBuf {
    let metadata = cargo(&[
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        "host-tuple",
    ]);
    let metadata: Value = serde_json::from_str(&metadata).expect("metadata is JSON");
    let crates = metadata["packages"].as_array().expect("a list of crates");
    let found = crates.iter().find(|it| it["name"] == name);
    let manifest = found.and_then(|it| it["manifest_path"].as_str());
    let manifest = Path::new(manifest.expect("the crate has a manifest"));
    manifest.with_file_name("")
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("crate names are UTF-8")
}
