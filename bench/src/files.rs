//! Finds files by patterns.

use std::{
    fs,
    path::{Path, PathBuf},
};

use harness::workspace::root;

/// Finds a path that matches a pattern. Each part of the pattern may contain one `*`. A relative
/// pattern starts at the root of the workspace.
///
/// # Panics
///
/// Panics if no path matches.
#[must_use]
pub fn glob(pattern: &str) -> PathBuf {
    let mut path = root();
    for part in Path::new(pattern) {
        let part = part.to_str().expect("the pattern is UTF-8");
        let Some((start, end)) = part.split_once('*') else {
            path.push(part);
            continue;
        };
        let entries = fs::read_dir(&path).unwrap_or_else(|error| {
            panic!(
                "{}: {error}; run `make bench`, which creates this folder",
                path.display()
            )
        });
        let mut names = entries.map(|entry| entry.expect("the folder can be read").file_name());
        let name = names.find(|name| {
            let name = name.to_str().unwrap_or_default();
            name.starts_with(start) && name.ends_with(end)
        });
        path.push(name.unwrap_or_else(|| panic!("no {part} in {}", path.display())));
    }
    path
}
