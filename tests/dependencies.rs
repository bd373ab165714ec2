//! What the workspace is built of and with. `deny.toml` says which crates may be in it: each costs the
//! functions start-up time and bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tests::workspace::root;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn what_is_fuzzed_is_built_of_the_same_crates() {
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
    // The other reader of JSON.
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
        .expect("one");
    for (path, manifest) in &manifests {
        if !manifest.contains_key("package") {
            continue;
        }
        let lints = manifest.get("lints");
        // A crate with a workspace of its own inherits nothing from ours.
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

#[test]
fn every_crate_is_ours_or_comes_from_crates_io_with_its_hash() {
    let ours: BTreeSet<String> = manifests()
        .values()
        .filter_map(|manifest| Some(manifest.get("package")?["name"].as_str()?.to_owned()))
        .collect();
    let locks = files(|path| path.ends_with("Cargo.lock"));
    assert!(locks.contains(&root().join("Cargo.lock")));
    for lock in locks {
        let packages = &toml(&lock)["package"];
        for package in packages.as_array().expect("packages") {
            let text = |key: &str| package.get(key).and_then(toml::Value::as_str);
            let name = text("name").expect("a name");
            match text("source") {
                None => assert!(ours.contains(name), "{name} in {}", lock.display()),
                Some(source) => {
                    assert_eq!(source, CRATES_IO, "{name} in {}", lock.display());
                    let is_hash = text("checksum").is_some_and(is_sha256);
                    assert!(is_hash, "{name} in {}", lock.display());
                }
            }
        }
    }
}

#[test]
fn every_package_of_python_is_pinned_by_version_and_hash() {
    let tools = root().join("tools/requirements");
    let lists = files(|path| path.parent() == Some(&tools) || path.ends_with("requirements.txt"));
    assert!(lists.contains(&tools.join("sam.txt")));
    for list in lists {
        // A package and its hashes are one line, broken by backslashes.
        let text = fs::read_to_string(&list).unwrap().replace("\\\n", " ");
        let lines = text.lines().map(str::trim);
        let packages: Vec<&str> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        assert!(!packages.is_empty(), "{}", list.display());
        for package in packages {
            let (pin, hashes) = package.split_once("--hash=").unwrap_or((package, ""));
            // What stands behind the version says on which systems it is needed.
            let (pin, _) = pin.split_once(';').unwrap_or((pin, ""));
            let version = pin.trim().split_once("==").map(|(_, version)| version);
            assert!(
                version.is_some_and(is_exact),
                "{}: {package}",
                list.display()
            );
            let mut hashes = hashes.split("--hash=").map(str::trim);
            let are_hashes = hashes.all(|hash| hash.strip_prefix("sha256:").is_some_and(is_sha256));
            assert!(are_hashes, "{}: {package}", list.display());
        }
    }
}

#[test]
fn every_package_of_node_is_pinned_by_version_and_hash() {
    let lists = files(|path| path.ends_with("package.json"));
    assert!(lists.contains(&root().join("tools/openapi/package.json")));
    for list in lists {
        let wanted = json(&list);
        let lock = json(&list.with_file_name("package-lock.json"));
        let packages = lock["packages"].as_object().expect("packages");
        for kind in ["dependencies", "devDependencies"] {
            // The lock begins with what it was made of.
            assert_eq!(packages[""][kind], wanted[kind], "{}", list.display());
            for (package, version) in wanted[kind].as_object().into_iter().flatten() {
                let version = version.as_str().expect("a version");
                assert!(is_exact(version), "{}: {package} {version}", list.display());
            }
        }
        for (path, package) in packages.iter().filter(|(path, _)| !path.is_empty()) {
            let hash = package["integrity"].as_str();
            let is_hash = hash.is_some_and(|hash| hash.starts_with("sha512-"));
            assert!(is_hash, "{path} of {}", list.display());
        }
    }
}

#[test]
fn every_action_of_a_workflow_is_pinned_by_its_commit() {
    let hash = "0123456789".repeat(4);
    let example = format!("- uses: a/pinned@{hash} # v4\n- uses: \"a/tagged@v4\"\n- uses: ./ours");
    assert_eq!(unpinned(&example), ["a/tagged@v4"]);

    let in_folder = |folder: &str| {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path())
    };
    let actions = in_folder(".github/actions").map(|folder| folder.join("action.yml"));
    for path in in_folder(".github/workflows").chain(actions) {
        let unpinned = unpinned(&fs::read_to_string(&path).unwrap()).join(", ");
        assert_eq!(unpinned, "", "in {}", path.display());
    }
}

/// The actions that a workflow uses by a name that may come to mean something else.
fn unpinned(workflow: &str) -> Vec<String> {
    let uses = workflow.lines().filter_map(|line| {
        let (_, action) = line.split_once("uses:")?;
        let action = action.split(" #").next()?.trim().trim_matches(['"', '\'']);
        Some(action.to_owned())
    });
    uses.filter(|action| {
        let commit = action.rsplit_once('@').map(|(_, commit)| commit);
        let is_commit =
            commit.is_some_and(|it| it.len() == 40 && it.bytes().all(|it| it.is_ascii_hexdigit()));
        !is_commit && !action.starts_with("./")
    })
    .collect()
}

/// Our manifests, by their paths.
fn manifests() -> BTreeMap<PathBuf, toml::Table> {
    let paths = files(|path| path.ends_with("Cargo.toml"));
    paths
        .into_iter()
        .map(|path| (path.clone(), toml(&path)))
        .collect()
}

/// The files of the project that are wanted. What is built or installed is not its own.
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

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether a version is one, and no range of them.
fn is_exact(version: &str) -> bool {
    version.starts_with(|it: char| it.is_ascii_digit())
        && version
            .chars()
            .all(|it| it.is_ascii_alphanumeric() || it == '.')
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
