//! What Linux tells of a running process.

use std::fs;

/// A size of a process's memory in KiB, by Linux's name for it, such as `VmRSS`.
///
/// # Panics
/// The process has ended.
#[must_use]
pub fn memory_kib(process: u32, size: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let value = status.lines().find_map(|line| {
        let value = line.strip_prefix(size)?.strip_prefix(':')?;
        value.trim().strip_suffix(" kB")?.parse().ok()
    });
    value.unwrap_or_else(|| panic!("Linux tells no {size} in kB"))
}

/// What the file descriptors of a process are open for, such as `socket:[1234]`.
///
/// # Panics
/// The process has ended.
#[must_use]
pub fn descriptors(process: u32) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("the process runs");
    // One may be closed meanwhile.
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.map(|path| path.display().to_string()).collect()
}
