//! The folder that keeps the local run's data.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// A folder that this process alone uses until it ends, however it ends: the operating system
/// holds the lock.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder unless it is there, and takes it.
    ///
    /// # Errors
    /// It can't be written, or another process has it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let lock = create(path).map_err(|error| {
            let path = path.display();
            format!(
                "the data folder {path} can't be written: {error}; choose another one, as in \
                 `make run DATA_DIR=/tmp/users`"
            )
        })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(format!(
                "the data folder {} is in use by another `make run`; stop that one, or choose \
                 another folder, as in `make run DATA_DIR=/tmp/users`",
                path.display()
            )),
            Err(TryLockError::Error(error)) => {
                let path = path.display();
                Err(format!("the data folder {path} can't be locked: {error}"))
            }
        }
    }

    /// The file of the embedded DynamoDB.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join("dynamodb.sqlite")
    }
}

fn create(path: &Path) -> io::Result<File> {
    if !path.is_dir() {
        fs::create_dir_all(path)?;
        // So that git and `cargo lambda watch`, which rebuilds on every change that git would see,
        // overlook the new folder wherever it is.
        fs::write(path.join(".gitignore"), "*\n")?;
    }
    let mut lock = File::options();
    lock.write(true).create(true).truncate(false);
    lock.open(path.join("dynamodb.lock"))
}
