//! The local run's data folder.

use std::{
    env,
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{self, Path, PathBuf},
};

/// A folder that this process has locked, so that no other process uses it. The operating system
/// releases the lock even after a crash.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Creates the folder if it is missing, and locks it.
    ///
    /// # Errors
    /// Fails if the folder can't be written, another process has locked it, or the path names an unknown home folder.
    pub fn open(path: &Path) -> Result<Self, String> {
        let path = &absolute_path(path)?;
        let lock = create(path).map_err(|error| {
            let problem = cannot_be_written(path, &error);
            format!("{problem}; choose another folder, as in `make run DATA_DIR=/tmp/users`")
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

    /// The absolute path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the folder accepts more data.
    ///
    /// # Errors
    /// Fails if the folder can't be written.
    pub fn check(&self) -> Result<(), String> {
        check(&self.path).map_err(|error| cannot_be_written(&self.path, &error))
    }

    /// The path of the embedded DynamoDB's file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join("dynamodb.sqlite")
    }
}

/// Makes a path absolute. Expands a leading `~`, because only some shells expand it in
/// `DATA_DIR=~/users`.
fn absolute_path(path: &Path) -> Result<PathBuf, String> {
    let mut parts = path.components();
    let first = parts.next();
    let first = first.map_or(&b""[..], |part| part.as_os_str().as_encoded_bytes());
    let absolute = match first {
        b"~" => {
            let home = env::home_dir().filter(|home| home.is_absolute());
            Ok(home.map(|home| home.join(parts.as_path())))
        }
        [b'~', ..] => Ok(None),
        _ => path::absolute(path).map(Some),
    };
    let shown = path.display();
    match absolute {
        Ok(Some(absolute)) => Ok(absolute),
        Ok(None) => Err(format!(
            "DATA_DIR={shown} names a home folder that can't be found; write the absolute path, or \
             ./{shown} for a folder of this name"
        )),
        Err(error) => Err(format!("the data folder {shown} can't be found: {error}")),
    }
}

fn cannot_be_written(path: &Path, error: &io::Error) -> String {
    format!(
        "the data folder {} can't be written: {error}",
        path.display()
    )
}

/// Checks that the folder has room for 1 MiB, which a few hundred users need. The file for this
/// check has no name, so it disappears when it is closed.
fn check(path: &Path) -> io::Result<()> {
    tempfile::tempfile_in(path)?.write_all(&vec![0; 1 << 20])
}

fn create(path: &Path) -> io::Result<File> {
    fs::create_dir_all(path)?;
    check(path)?;
    // Makes git ignore a folder that holds only files of the local run. `cargo lambda watch` ignores
    // what git ignores. If git did not ignore the folder, cargo-lambda would rebuild the functions after
    // each write to the database.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leading_tilde_means_the_home_folder() {
        let home = env::home_dir().unwrap();
        let here = env::current_dir().unwrap();
        for (named, absolute) in [
            ("~", home.clone()),
            ("~/users", home.join("users")),
            ("~/a/~", home.join("a/~")),
            ("./~", here.join("~")),
            ("./~/users", here.join("~/users")),
            ("a/~/users", here.join("a/~/users")),
            (".data", here.join(".data")),
            ("/tmp/users", "/tmp/users".into()),
        ] {
            assert_eq!(absolute_path(Path::new(named)), Ok(absolute), "{named}");
        }
        for named in ["~grace", "~grace/users", "~~"] {
            assert!(absolute_path(Path::new(named)).is_err(), "{named}");
        }
    }
}
