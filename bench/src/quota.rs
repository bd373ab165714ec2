//! A share of a processor, as Lambda gives to a function by its memory size.

use std::{fs, io, path::PathBuf};

/// Linux's first kind of control groups, in which the quota is one of the `cpu` controller.
const CONTROLLER: &str = "/sys/fs/cgroup/cpu";

/// In how short a period the share is given, in microseconds. Within each the function runs at full
/// speed until its share is used up.
const PERIOD: u32 = 20_000;

/// A share of a processor. It is taken away when this is dropped.
#[derive(Debug)]
pub struct Quota {
    group: PathBuf,
}

impl Quota {
    /// A share in percent of one processor.
    ///
    /// # Errors
    /// The machine has no such control groups, or only root may make them.
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
    /// It can't be: the process has ended.
    pub fn apply(&self, process: u32) {
        fs::write(self.group.join("cgroup.procs"), process.to_string())
            .expect("a running process can be put into a group");
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // The last process may still be on its way out.
        for _ in 0..100 {
            if fs::remove_dir(&self.group).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
