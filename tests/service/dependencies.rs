//! Tests of the lock files and manifests. `.cargo/deny.toml` names the banned crates and the
//! reasons.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use harness::workspace::root;

#[test]
fn the_fuzz_targets_use_the_same_crate_versions_as_the_project() {
    let locked = |path: &str| -> BTreeSet<(String, String)> {
        let lock = toml(&root().join(path));
        let packages = lock["package"].as_array().unwrap().iter();
        let member = |package: &toml::Value, name| package[name].as_str().unwrap().to_owned();
        packages
            .map(|package| (member(package, "name"), member(package, "version")))
            .collect()
    };
    let project = locked("Cargo.lock");
    let fuzzed = locked("tests/fuzz/Cargo.lock").into_iter();
    let others: BTreeSet<String> = fuzzed
        .filter(|package| !project.contains(package))
        .map(|(name, _)| name)
        .collect();
    let of_fuzzer = ["arbitrary", "fuzz", "jobserver", "libfuzzer-sys"];
    // The fuzz targets compare our results with those of the JSON parser jiter.
    let of_jiter = [
        "bitvec",
        "funty",
        "jiter",
        "lexical-parse-float",
        "lexical-parse-integer",
        "lexical-util",
        "radium",
        "tap",
        "wyz",
    ];
    let expected = of_fuzzer.into_iter().chain(of_jiter);
    assert_eq!(others, expected.map(ToOwned::to_owned).collect());
}

#[test]
fn every_crate_of_ours_forbids_unsafe_code() {
    let manifests = manifests();
    let forbids = |lints: Option<&toml::Value>| {
        let level = lints.and_then(|lints| lints.get("rust")?.get("unsafe_code"));
        level.and_then(toml::Value::as_str) == Some("forbid")
    };
    let workspace = manifests[&root().join("Cargo.toml")]["workspace"]
        .as_table()
        .expect("a workspace");
    for (path, manifest) in &manifests {
        if !manifest.contains_key("package") {
            continue;
        }
        let lints = manifest.get("lints");
        // A manifest with its own workspace can't inherit the project's lints.
        let inherits = !manifest.contains_key("workspace")
            && lints.and_then(|lints| lints.get("workspace")?.as_bool()) == Some(true);
        let forbidden = forbids(if inherits {
            workspace.get("lints")
        } else {
            lints
        });
        assert!(forbidden, "{}", path.display());
    }
}

fn manifests() -> BTreeMap<PathBuf, toml::Table> {
    let paths = files(|path| path.ends_with("Cargo.toml"));
    paths
        .into_iter()
        .map(|path| (path.clone(), toml(&path)))
        .collect()
}

fn files(is_wanted: impl Fn(&Path) -> bool) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = entry.file_name().into_string().expect("names are UTF-8");
            if kind.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if kind.is_file() && is_wanted(&path) {
                found.insert(path);
            }
        }
    }
    found
}

fn toml(path: &Path) -> toml::Table {
    let text = fs::read_to_string(path).unwrap();
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
