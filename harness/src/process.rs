//! What Linux tells of a running process.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
};

/// A running process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// Its program and arguments.
    pub command: Vec<String>,
    environment: Vec<Vec<u8>>,
}

impl Process {
    /// The processes that inherited a variable with this value.
    ///
    /// # Panics
    /// Linux tells nothing of processes.
    #[must_use]
    pub fn all_with(name: &str, value: &OsStr) -> Vec<Self> {
        let variable = [name.as_bytes(), b"=", value.as_encoded_bytes()].concat();
        let processes = fs::read_dir("/proc").expect("/proc is there");
        let mut found = Vec::new();
        for process in processes.map(|entry| entry.expect("/proc can be read").path()) {
            // Most entries are no processes, and a process may end meanwhile.
            let id = process
                .file_name()
                .and_then(|name| name.to_str()?.parse().ok());
            let (Some(id), Ok(environment)) = (id, fs::read(process.join("environ"))) else {
                continue;
            };
            let environment: Vec<Vec<u8>> = split(&environment);
            if environment.contains(&variable) {
                let command = split(&fs::read(process.join("cmdline")).unwrap_or_default());
                let command = command
                    .iter()
                    .map(|it| String::from_utf8_lossy(it).into_owned());
                let command = command.collect();
                found.push(Self {
                    id,
                    command,
                    environment,
                });
            }
        }
        found
    }

    /// The value of a variable that the process inherited.
    ///
    /// # Panics
    /// It is not UTF-8.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let name = [name.as_bytes(), b"="].concat();
        let mut values = self.environment.iter();
        let value = values.find_map(|it| it.strip_prefix(&*name))?;
        Some(str::from_utf8(value).expect("the variable is UTF-8"))
    }

    /// The folder that the process works in; none if it has ended.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/cwd", self.id)).ok()
    }

    /// Where the process listens.
    ///
    /// # Panics
    /// The process has ended.
    #[must_use]
    pub fn listens(&self) -> BTreeSet<SocketAddrV4> {
        let sockets = descriptors(self.id);
        let table = fs::read_to_string("/proc/net/tcp").expect("Linux tells of sockets");
        let rows = table.lines().skip(1).map(str::split_whitespace);
        let rows = rows.map(Iterator::collect::<Vec<_>>);
        // The local address, the state and the socket's number; 0A is to listen.
        let own =
            rows.filter(|row| row[3] == "0A" && sockets.contains(&format!("socket:[{}]", row[9])));
        own.map(|row| address(row[1])).collect()
    }
}

/// What stands between bytes of zero.
fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let parts = bytes
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty());
    parts.map(<[u8]>::to_vec).collect()
}

/// An address as Linux writes it, such as `0100007F:2328`: the bytes of the machine's number.
fn address(text: &str) -> SocketAddrV4 {
    let (host, port) = text.split_once(':').expect("a host and a port");
    let host = u32::from_str_radix(host, 16).expect("a host in hexadecimal digits");
    let port = u16::from_str_radix(port, 16).expect("a port in hexadecimal digits");
    SocketAddrV4::new(Ipv4Addr::from(host.to_ne_bytes()), port)
}

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
