//! The folder that keeps the local run's data.

use std::{
    env,
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{self, Path, PathBuf},
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
    /// It can't be written, another process has it, or nobody knows where it is.
    pub fn open(path: &Path) -> Result<Self, String> {
        let path = &whole(path)?;
        let lock = create(path).map_err(|error| {
            let problem = cannot_be_written(path, &error);
            format!("{problem}; choose another one, as in `make run DATA_DIR=/tmp/users`")
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

    /// Where the folder is: a whole path, whatever it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the folder takes more data.
    ///
    /// # Errors
    /// It does not, and this is why.
    pub fn check(&self) -> Result<(), String> {
        check(&self.path).map_err(|error| cannot_be_written(&self.path, &error))
    }

    /// The file of the embedded DynamoDB.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join("dynamodb.sqlite")
    }
}

/// The whole path of a folder that a person named. Only some shells read the `~` of `DATA_DIR=~/users`.
fn whole(path: &Path) -> Result<PathBuf, String> {
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
            "nobody knows whose home folder is meant by DATA_DIR={shown}; write the whole path, or \
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

/// Writes as much as some hundred users take, to a file that has no name and is gone at once.
fn check(path: &Path) -> io::Result<()> {
    tempfile::tempfile_in(path)?.write_all(&vec![0; 1 << 20])
}

fn create(path: &Path) -> io::Result<File> {
    fs::create_dir_all(path)?;
    check(path)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home_folder_at_the_beginning_alone() {
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
            assert_eq!(whole(Path::new(named)), Ok(absolute), "{named}");
        }
        for named in ["~grace", "~grace/users", "~~"] {
            assert!(whole(Path::new(named)).is_err(), "{named}");
        }
    }
}
