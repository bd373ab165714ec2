//! The folder that keeps the local run's data.

use std::{
    ffi::OsString,
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
    fs::create_dir_all(path)?;
    // A folder that is ours alone tells git to overlook it, wherever it is, and so also `cargo lambda
    // watch`, which rebuilds on every change that git would see.
    let mut names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name()));
    let is_ours = names.try_fold(true, |ours, name: io::Result<OsString>| {
        let name = name?;
        Ok::<_, io::Error>(ours && name.as_encoded_bytes().starts_with(b"dynamodb."))
    })?;
    if is_ours {
        fs::write(path.join(".gitignore"), "*\n")?;
    }
    let mut lock = File::options();
    lock.write(true).create(true).truncate(false);
    lock.open(path.join("dynamodb.lock"))
}
