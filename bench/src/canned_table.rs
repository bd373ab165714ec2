//! A fake table that returns fixed responses immediately, so that the benchmark measures only the
//! functions. It ignores the items that it gets, so it can't show whether a function writes correct
//! items. [`crate::compare::check`] checks each function with the embedded engine.

use std::{fs, io, path::Path, sync::Arc};

use harness::tls::{Authority, certificate};
use serde_json::{Value, json};
use shared::item::{ID, KIND, KIND_USER, USERNAME, USERNAME_KEY};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::files::glob;

/// Mozilla's list of certificate authorities, which the SDK for Python contains.
const PUBLIC_WEB: &str = ".tools/contestants-python/lib/python3*/site-packages/botocore/cacert.pem";

const CONDITION_FAILED: &str = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"The conditional request failed"}"#;

/// How many users the table's page has.
pub const USERS_PER_PAGE: usize = 100;

/// A running fake table. Dropping this value stops the table.
#[derive(Debug)]
pub struct CannedTable {
    url: String,
    certificates: Certificates,
    server: JoinHandle<()>,
}

impl CannedTable {
    /// Starts a table that uses TLS, as DynamoDB does.
    ///
    /// # Panics
    ///
    /// Panics if there is no free port.
    pub async fn start() -> Self {
        let (certificates, tls) = Certificates::make();
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = tcp.local_addr().expect("a listener has an address");
        let answers = Arc::new(Answers::new());
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = tcp.accept().await.expect("the listener works");
                let _ = stream.set_nodelay(true);
                let (tls, answers) = (tls.clone(), Arc::clone(&answers));
                tokio::spawn(async move {
                    // A client may disconnect at any time.
                    if let Ok(stream) = tls.accept(stream).await {
                        let _ = serve(stream, answers).await;
                    }
                });
            }
        });
        Self {
            url: format!("https://localhost:{}", address.port()),
            certificates,
            server,
        }
    }

    /// What a function needs to reach this table.
    #[must_use]
    pub fn access(&self) -> Access<'_> {
        Access {
            url: &self.url,
            certificates: Some(&self.certificates),
        }
    }
}

/// What a function needs to reach its table.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// The table's URL.
    pub url: &'a str,
    /// The files of trusted certificates, or `None` if the table does not use TLS.
    pub certificates: Option<&'a Certificates>,
}

impl Drop for CannedTable {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The certificate authorities that a function trusts.
#[derive(Clone, Copy, Debug)]
pub enum Trust {
    /// The authority that signed the table's certificate. In AWS, this project's functions likewise
    /// trust only Amazon's authorities.
    Authority,
    /// The authorities of the public web, and the authority that signed the table's certificate.
    PublicWeb,
}

/// One file of trusted certificates for each variant of [`Trust`].
#[derive(Debug)]
pub struct Certificates {
    authority: Authority,
    public_web: NamedTempFile,
}

impl Certificates {
    /// The path of the file with the certificates of the authorities that `trust` names.
    #[must_use]
    pub fn path(&self, trust: Trust) -> &str {
        let path = match trust {
            Trust::Authority => self.authority.file(),
            Trust::PublicWeb => self.public_web.path(),
        };
        path.to_str().expect("the path is UTF-8")
    }

    fn make() -> (Self, TlsAcceptor) {
        let authority = Authority::new();
        let public_web = glob(PUBLIC_WEB);
        let read = |path: &Path| {
            fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let both = read(&public_web) + "\n" + &read(authority.file());
        let file = NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), both).expect("the file is writable");
        let tls = authority.acceptor(&certificate("localhost"));
        let certificates = Self {
            authority,
            public_web: file,
        };
        (certificates, tls)
    }
}

struct Answers {
    page: String,
}

impl Answers {
    fn new() -> Self {
        let users: Vec<Value> = (0..USERS_PER_PAGE)
            .map(|number| {
                let name = format!("user-{number:05}");
                let id = format!("019ca945-0a7b-7c3d-9d2e-{number:012x}");
                json!({
                    KIND: { "S": KIND_USER },
                    USERNAME_KEY: { "S": name },
                    USERNAME: { "S": name },
                    ID: { "S": id },
                })
            })
            .collect();
        let page =
            json!({ "Count": USERS_PER_PAGE, "ScannedCount": USERS_PER_PAGE, "Items": users });
        Self {
            page: page.to_string(),
        }
    }

    /// Returns the status and the body of the response.
    fn to(&self, head: &str, body: &[u8]) -> (&'static str, &str) {
        let is = |operation: &str| head.contains(&format!("DynamoDB_20120810.{operation}\r"));
        let is_warm_up = || {
            let condition = b"attribute_exists";
            body.windows(condition.len()).any(|part| part == condition)
        };
        if is("Query") {
            ("200 OK", &self.page)
        } else if is("PutItem") && is_warm_up() {
            // The condition of the warm-up is never met.
            ("400 Bad Request", CONDITION_FAILED)
        } else if is("PutItem") {
            ("200 OK", "{}")
        } else {
            panic!("the functions never send this request: {head}")
        }
    }
}

/// Answers the requests of a connection until it ends. A general HTTP server would be slower, and
/// each measured time would include the server's time.
async fn serve(mut stream: TlsStream<TcpStream>, answers: Arc<Answers>) -> io::Result<()> {
    let mut received = Vec::new();
    loop {
        let Some(head_length) = received.windows(4).position(|part| part == b"\r\n\r\n") else {
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let body_starts = head_length + 4;
        let head = String::from_utf8_lossy(&received[..body_starts]).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.parse::<usize>().ok())?
        });
        let body_ends = body_starts + length.expect("a request has a length");
        while received.len() < body_ends {
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        }
        let (status, body) = answers.to(&head, &received[body_starts..body_ends]);
        let response = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\n\
             x-amzn-requestid: 7Q0SAR5BIVKJ3NNFOU6TKA4OKVVV4KQNSO5AEMVJF66Q9ASUAAJG\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(response.as_bytes()).await?;
        received.drain(..body_ends);
    }
}
