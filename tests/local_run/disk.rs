//! Tests of the local run on a disk that becomes full or read-only.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use harness::{
    local_run::{LocalRun, output, program},
    workspace::root,
};
use tempfile::TempDir;

use crate::{alone, assert_refused, temporary_folder};

/// Each fault of the disk: the content of the switch file that causes the fault (see `disk.c`), and
/// the operating system's message for the fault.
const FAULTS: [(&str, &str); 2] = [
    ("full", "No space left on device (os error 28)"),
    ("read-only", "Read-only file system (os error 30)"),
];

#[test]
fn no_acknowledged_user_is_lost_on_a_full_or_read_only_disk() {
    let _alone = alone();
    for (fault, reason) in FAULTS {
        let disk = Disk::new();
        let run = LocalRun::start_by(disk.program(), disk.data());
        let mut users = vec![run.create("ada").json(), run.create("bea").json()];

        disk.set(fault);
        for username in ["cleo", "dora", "cleo"] {
            let refused = run.create(username);
            assert_eq!(refused.status, 503, "{fault}: {refused:?}");
            assert_eq!(refused.header("retry-after"), Some("1"));
        }
        assert_eq!(run.create("ADA").status, 409);
        assert_eq!(*run.list("").json().as_array().unwrap(), users, "{fault}");
        let data = disk.data().display();
        run.wait_for_output(&format!(
            "make run: the data folder {data} can't be written: {reason}; creates get 503 until the \
             folder is writable\n"
        ));

        disk.heal();
        users.push(run.create("cleo").json());
        users.push(run.create("edsger").json());
        assert_eq!(*run.list("").json().as_array().unwrap(), users, "{fault}");
        run.wait_for_output("make run: the data folder is writable again\n");
        run.stop();
        disk.assert_sound();

        let run = LocalRun::start(disk.data());
        assert_eq!(*run.list("").json().as_array().unwrap(), users, "{fault}");
        run.stop();
    }
}

#[test]
fn a_run_that_is_killed_on_a_full_disk_loses_no_acknowledged_user() {
    let _alone = alone();
    let disk = Disk::new();
    let run = LocalRun::start_by(disk.program(), disk.data());
    let user = run.create("ada").json();
    disk.set("full");
    assert_eq!(run.create("bea").status, 503);
    run.signal("KILL");
    assert!(!run.ended().success());
    disk.heal();

    let run = LocalRun::start(disk.data());
    assert_eq!(run.list("").json(), serde_json::json!([user]));
    assert_eq!(run.create("bea").status, 201);
    run.stop();
    disk.assert_sound();
}

#[test]
fn a_disk_without_space_or_write_access_at_the_start_is_reported_in_one_line() {
    let _alone = alone();
    for (fault, reason) in FAULTS {
        let disk = Disk::new();
        let message = format!(
            "make run: the data folder {} can't be written: {reason}; choose another folder, as in \
             `make run DATA_DIR=/tmp/users`\n",
            disk.data().display()
        );
        // Try the start twice: with an empty data folder, and with a data folder that contains a
        // user.
        disk.set(fault);
        assert_refused(&disk.run_to_end(), &message);
        disk.heal();
        let run = LocalRun::start_by(disk.program(), disk.data());
        let user = run.create("ada").json();
        run.stop();
        disk.set(fault);
        assert_refused(&disk.run_to_end(), &message);
        disk.heal();
        let run = LocalRun::start_by(disk.program(), disk.data());
        assert_eq!(run.list("").json(), serde_json::json!([user]));
        run.stop();
    }
}

/// A data folder on a simulated disk, which a test can make full or read-only.
struct Disk {
    data: TempDir,
    /// Contains the switch file, and the library that is compiled from `disk.c`.
    tools: TempDir,
}

impl Disk {
    fn new() -> Self {
        let disk = Self {
            data: temporary_folder(),
            tools: temporary_folder(),
        };
        let mut compile = Command::new("cc");
        compile
            .args(["-shared", "-fPIC", "-o"])
            .arg(disk.tools.path().join("disk.so"))
            .arg(root().join("tests/local_run/disk.c"))
            .arg("-ldl");
        let compiled = output(compile);
        assert!(compiled.status.success(), "{compiled:?}");
        disk
    }

    fn data(&self) -> &Path {
        self.data.path()
    }

    fn program(&self) -> Command {
        let mut local = program("local");
        local
            .env("LD_PRELOAD", self.tools.path().join("disk.so"))
            .env("FAULTY_FOLDER", self.data())
            .env("FAULTY_SWITCH", self.switch());
        local
    }

    /// Starts the local run, and waits until it exits.
    fn run_to_end(&self) -> Output {
        let mut local = self.program();
        local
            .env("PORT", "0")
            .env("PAGE_PORT", "0")
            .env("DATA_DIR", self.data());
        output(local)
    }

    fn switch(&self) -> std::path::PathBuf {
        self.tools.path().join("switch")
    }

    fn set(&self, fault: &str) {
        fs::write(self.switch(), fault).unwrap();
    }

    fn heal(&self) {
        fs::remove_file(self.switch()).unwrap();
    }

    /// Checks the database file with Python's SQLite, to be independent of the engine's SQLite.
    fn assert_sound(&self) {
        let script = "import sqlite3, sys\n\
                      print(*sqlite3.connect(sys.argv[1]).execute('PRAGMA integrity_check'))";
        let mut check = Command::new("python3");
        check.args(["-c", script]);
        check.arg(self.data().join("dynamodb.sqlite"));
        let checked = output(check);
        assert_eq!(String::from_utf8_lossy(&checked.stdout), "('ok',)\n");
    }
}
