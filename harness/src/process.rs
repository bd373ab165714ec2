//! Inspects and signals running processes. The functions that read `/proc` need Linux.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    process::Command,
};

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

/// A running process.
#[derive(Clone, Debug)]
pub struct Process {
    /// The process ID.
    pub id: u32,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The working directory, if the system reports it.
    pub folder: Option<PathBuf>,
    environment: Vec<OsString>,
}

impl Process {
    /// All processes whose environment variable `name` had the value `value` when they started.
    ///
    /// # Panics
    /// Panics if the system reports no processes.
    #[must_use]
    pub fn all_with(name: &str, value: &OsStr) -> Vec<Self> {
        let mut variable = OsString::from(name);
        variable.push("=");
        variable.push(value);
        let what = ProcessRefreshKind::nothing()
            .with_cmd(UpdateKind::Always)
            .with_cwd(UpdateKind::Always)
            .with_environ(UpdateKind::Always)
            .without_tasks();
        let mut system = System::new().expect("the system reports its processes");
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
        let text = |text: &OsString| text.to_string_lossy().into_owned();
        let processes = system.processes().values();
        processes
            .filter(|process| process.environ().contains(&variable))
            .map(|process| Self {
                id: process.pid().as_u32(),
                command: process.cmd().iter().map(text).collect(),
                folder: process.cwd().map(Path::to_owned),
                environment: process.environ().to_vec(),
            })
            .collect()
    }

    /// The value that an environment variable had when the process started.
    ///
    /// # Panics
    /// Panics if an environment variable of the process is not UTF-8.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let texts = self.environment.iter().map(|it| it.to_str());
        let mut pairs = texts.map(|it| it.expect("variables are UTF-8"));
        pairs.find_map(|it| it.strip_prefix(name)?.strip_prefix('='))
    }

    /// The IPv4 addresses on which the process listens.
    ///
    /// # Panics
    /// Panics if the process has ended.
    #[must_use]
    pub fn listens(&self) -> BTreeSet<SocketAddrV4> {
        let sockets = descriptors(self.id);
        let table = fs::read_to_string("/proc/net/tcp").expect("Linux reports its sockets");
        let rows = table.lines().skip(1).map(str::split_whitespace);
        let rows = rows.map(Iterator::collect::<Vec<_>>);
        // Counted from 0, column 1 is the local address, column 3 is the state and column 9 is the
        // inode. The state `0A` means that the socket listens.
        let own =
            rows.filter(|row| row[3] == "0A" && sockets.contains(&format!("socket:[{}]", row[9])));
        own.map(|row| address(row[1])).collect()
    }
}

/// Parses an address such as `0100007F:2328`. Linux prints the host in the machine's byte order.
fn address(text: &str) -> SocketAddrV4 {
    let (host, port) = text.split_once(':').expect("a host and a port");
    let host = u32::from_str_radix(host, 16).expect("a host in hexadecimal digits");
    let port = u16::from_str_radix(port, 16).expect("a port in hexadecimal digits");
    SocketAddrV4::new(Ipv4Addr::from(host.to_ne_bytes()), port)
}

/// The field `field` of `/proc/PID/status`, such as `VmRSS`, in KiB.
///
/// # Panics
/// Panics if the process has ended.
#[must_use]
pub fn memory_kib(process: u32, field: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let value = status.lines().find_map(|line| {
        let value = line.strip_prefix(field)?.strip_prefix(':')?;
        value.trim().strip_suffix(" kB")?.parse().ok()
    });
    value.unwrap_or_else(|| panic!("Linux does not report {field} in kB"))
}

/// The targets of a process's open file descriptors, such as `socket:[1234]`.
///
/// # Panics
/// Panics if the process has ended.
#[must_use]
pub fn descriptors(process: u32) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("the process runs");
    // Skips descriptors that the process closes while the folder is being read.
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.map(|path| path.display().to_string()).collect()
}

/// Sends a signal, such as `TERM`, to a process.
///
/// # Panics
/// Panics if there is no such process.
pub fn signal(process: u32, signal: &str) {
    let mut kill = Command::new("kill");
    let kill = kill.args([format!("-{signal}"), process.to_string()]);
    assert!(kill.status().expect("kill runs").success());
}
