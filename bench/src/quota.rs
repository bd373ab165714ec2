//! Limits a process to a share of a processor, as Lambda does for functions with little memory.

use std::{fs, io, path::PathBuf};

/// The folder of the `cpu` controller of Linux's control groups, version 1.
const CONTROLLER: &str = "/sys/fs/cgroup/cpu";

/// The period of the quota, in microseconds. In each period, the process runs at full speed until
/// it has used up its share.
const PERIOD: u32 = 20_000;

/// A limit for the processor share of a process. Dropping this value removes the control group.
#[derive(Debug)]
pub struct Quota {
    group: PathBuf,
}

impl Quota {
    /// Makes a quota of `percent` percent of one processor.
    ///
    /// # Errors
    ///
    /// Fails without version 1 of control groups, or if this process may not create a group.
    pub fn percent(percent: u32) -> io::Result<Self> {
        let group = PathBuf::from(CONTROLLER).join(format!("users-api-{}", std::process::id()));
        match fs::create_dir(&group) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let quota = Self { group };
        let share = PERIOD / 100 * percent;
        fs::write(quota.group.join("cpu.cfs_period_us"), PERIOD.to_string())?;
        fs::write(quota.group.join("cpu.cfs_quota_us"), share.to_string())?;
        Ok(quota)
    }

    /// Puts a process under the quota.
    ///
    /// # Panics
    ///
    /// Panics if the process has ended.
    pub fn apply(&self, process: u32) {
        fs::write(self.group.join("cgroup.procs"), process.to_string())
            .expect("a running process can be put into a group");
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // A control group can't be removed while its last process is still exiting.
        for _ in 0..100 {
            if fs::remove_dir(&self.group).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
