//! Where things are in the workspace.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Once,
};

use serde_json::Value;

/// The top level folder, which holds the current one. Where it was when this was built says nothing: it
/// may have been moved since.
///
/// # Panics
/// The current folder is outside of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let folder = env::current_dir().expect("there is a current folder");
    let is_root = |folder: &&Path| folder.join("template.yaml").is_file();
    let root = folder.ancestors().find(is_root);
    root.expect("the current folder is in the workspace")
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

/// The functions: each has a folder of its name.
///
/// # Panics
/// There is no such folder.
#[must_use]
pub fn functions() -> BTreeSet<String> {
    let folders = fs::read_dir(root().join("functions")).expect("a folder");
    folders
        .map(|folder| folder.expect("a folder").file_name())
        .map(|name| name.into_string().expect("names are ASCII"))
        .collect()
}

/// Where cargo puts the binaries of the profile that the tests were built with.
///
/// # Panics
/// The executable is not where cargo puts it.
#[must_use]
pub fn target_profile() -> PathBuf {
    let executable = env::current_exe().expect("the executable has a path");
    let folder = executable.parent().expect("the executable is in a folder");
    // A program is in the profile's folder itself, a test one further down.
    let profile = if folder.ends_with("deps") {
        folder.parent().expect("deps is in the profile")
    } else {
        folder
    };
    profile.to_owned()
}

/// Where cargo puts everything.
///
/// # Panics
/// The executable is not where cargo puts it.
#[must_use]
pub fn target() -> PathBuf {
    let profile = target_profile();
    let target = profile.parent().expect("the profile is in target");
    target.to_owned()
}

/// A binary that was built before the tests.
///
/// # Panics
/// It was not built.
#[must_use]
pub fn built(path: &Path) -> PathBuf {
    assert!(
        path.is_file(),
        "{} is not built; run `make test`, which builds the programs, or `make verify STEP=functions`, which \
         builds the functions for Lambda",
        path.display()
    );
    path.to_owned()
}

/// The variable that has the tests start the functions as they are deployed.
const RELEASED: &str = "RELEASED";

/// A function's binary: a debug build of the source as it is now, or the deployed one with `RELEASED=1`.
///
/// # Panics
/// It can't be built, or was not.
#[must_use]
pub fn binary_of(function: &str) -> PathBuf {
    if env::var_os(RELEASED).is_some() {
        return released(function);
    }
    build();
    built(&target_profile().join(function))
}

/// An example of a function, made in the same way.
///
/// # Panics
/// It can't be built, or was not.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    if env::var_os(RELEASED).is_some() {
        return lambda("lambda-examples", name);
    }
    build();
    built(&target_profile().join("examples").join(name))
}

/// A function's binary as `cargo lambda build --release` makes it for Lambda.
///
/// # Panics
/// It was not built.
#[must_use]
pub fn released(function: &str) -> PathBuf {
    lambda("lambda", function)
}

/// Builds what `make test` builds before the tests. That takes no time when nothing has changed.
fn build() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        cargo(&[
            "build",
            "--locked",
            "--workspace",
            "--bins",
            "--example",
            "panics",
        ]);
    });
}

fn lambda(folder: &str, name: &str) -> PathBuf {
    built(&target().join(folder).join(name).join("bootstrap"))
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

/// Runs cargo in the workspace, and gives what it prints. It sees the variables of the prompt only: some crates are
/// built again when those change that cargo sets for the tests.
fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    for (variable, _) in env::vars_os() {
        let name = variable.to_string_lossy();
        let of_cargo = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
        if of_cargo.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&variable);
        }
    }
    let output = command.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}
