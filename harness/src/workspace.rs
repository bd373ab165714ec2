//! Finds files, functions and binaries in the workspace.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Once,
};

use serde_json::Value;

/// The workspace's top-level folder. Searches upward from the current folder, because the workspace
/// may have been moved since the build.
///
/// # Panics
/// Panics if the current folder is outside the workspace.
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
/// Panics if the file can't be read.
#[must_use]
pub fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the functions, which are also the names of their folders.
///
/// # Panics
/// Panics if there is no folder `functions`.
#[must_use]
pub fn functions() -> BTreeSet<String> {
    let folders = fs::read_dir(root().join("functions")).expect("a folder");
    folders
        .map(|folder| folder.expect("a folder").file_name())
        .map(|name| name.into_string().expect("names are ASCII"))
        .collect()
}

/// Cargo's output folder for the profile of the running program, such as `target/debug`. The program
/// must be in cargo's target folder.
///
/// # Panics
/// Panics if the path of the running program is unknown.
#[must_use]
pub fn target_profile() -> PathBuf {
    let executable = env::current_exe().expect("the executable has a path");
    let folder = executable.parent().expect("the executable is in a folder");
    // Cargo keeps test programs in the subfolder `deps`.
    let profile = if folder.ends_with("deps") {
        folder.parent().expect("deps is in the profile's folder")
    } else {
        folder
    };
    profile.to_owned()
}

/// Cargo's target folder. The running program must be in this folder.
///
/// # Panics
/// Panics if the path of the running program is unknown.
#[must_use]
pub fn target() -> PathBuf {
    let profile = target_profile();
    let target = profile.parent().expect("the profile is in target");
    target.to_owned()
}

/// Returns the path of a binary, after a check that the binary exists.
///
/// # Panics
/// Panics if there is no file at `path`.
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

const RELEASED: &str = "RELEASED";

/// The path of a function's binary. With `RELEASED=1`, this is the binary to deploy. Otherwise, it
/// is the debug build.
///
/// # Panics
/// Panics if the debug build fails, or the binary for deployment was not built.
#[must_use]
pub fn binary_of(function: &str) -> PathBuf {
    if env::var_os(RELEASED).is_some() {
        return released(function);
    }
    build();
    built(&target_profile().join(function))
}

/// The path of a cargo example's binary. With `RELEASED=1`, this is the build for Lambda.
/// Otherwise, it is the debug build.
///
/// # Panics
/// Panics if the debug build fails, or the example was not built for Lambda.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    if env::var_os(RELEASED).is_some() {
        return lambda("lambda-examples", name);
    }
    build();
    built(&target_profile().join("examples").join(name))
}

/// The path of the binary that `cargo lambda build --release` built for this function.
///
/// # Panics
/// Panics if the binary was not built.
#[must_use]
pub fn released(function: &str) -> PathBuf {
    lambda("lambda", function)
}

/// Builds the programs that `make test` builds before the tests.
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

/// The crates from which a function is built. Each crate is a line such as `serde v1.0.0`.
///
/// # Panics
/// Panics if Cargo fails.
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
    // Cargo adds ` (*)` if a crate occurs again.
    let name = |line: &str| line.trim_end_matches(" (*)").to_owned();
    tree.lines().map(name).collect()
}

/// The source folder of a crate that the tests depend on.
///
/// # Panics
/// Panics if Cargo fails, or there is no such crate.
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

/// Runs cargo in the workspace and returns its output. Removes the environment variables that cargo
/// sets for a test, because cargo rebuilds some crates when these variables change.
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
