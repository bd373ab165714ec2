//! The floor: `POST /api/users` written by hand, without the SDK and without an async runtime.
//!
//! It does only what every create must do, so it shows which part of a call's cost is unavoidable.
//! Its `PutItem` has the same condition as create-user's.
//!
//! **Not for production.** It has no timeouts and no retries, and it ends at the first broken
//! connection. It accepts only usernames of ASCII letters, digits and hyphens. It reads only responses
//! with a `Content-Length`.

use std::{
    borrow::Cow,
    env,
    error::Error,
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Instant, SystemTime},
};

use ring::{digest, hmac};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

fn main() -> Result<(), Box<dyn Error>> {
    let mut table = Table::connect()?;
    let api = env::var("AWS_LAMBDA_RUNTIME_API")?;
    let mut runtime = Connection::new(TcpStream::connect(&api)?)?;
    let path = "/2018-06-01/runtime/invocation";
    let mut is_first = true;
    loop {
        let next = format!("GET {path}/next HTTP/1.1\r\nhost: {api}\r\n\r\n");
        let (head, event) = runtime.exchange(next.as_bytes())?;
        let started = Instant::now();
        let id = header(&head, "lambda-runtime-aws-request-id").ok_or("an event without an id")?;
        let (status, body) = answer(&mut table, &event)?;
        let line = Line {
            timestamp: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            level: "INFO",
            request_id: id,
            trace_id: header(&head, "lambda-runtime-trace-id"),
            route: "POST /api/users",
            status,
            cold_start: is_first,
            latency: started.elapsed().as_secs_f64() * 1000.0,
        };
        is_first = false;
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        io::stdout().write_all(&line)?;
        let response = serde_json::to_string(&Response {
            status_code: status,
            headers: ResponseHeaders {
                content_type: "application/json",
            },
            body: &body,
            is_base64_encoded: false,
        })?;
        let post = format!(
            "POST {path}/{id}/response HTTP/1.1\r\nhost: {api}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{response}",
            response.len()
        );
        runtime.exchange(post.as_bytes())?;
    }
}

/// Returns the status and the body of the HTTP response to an event.
fn answer(table: &mut Table, event: &[u8]) -> Result<(u16, String), Box<dyn Error>> {
    let event: Event<'_> = serde_json::from_slice(event)?;
    let Ok(new) = serde_json::from_str::<NewUser<'_>>(event.body.as_deref().unwrap_or_default())
    else {
        return Ok((400, json!({ "title": "Invalid JSON" }).to_string()));
    };
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if new.username.is_empty() || !new.username.bytes().all(is_allowed) {
        return Ok((422, json!({ "title": "Invalid username" }).to_string()));
    }
    let id = Uuid::now_v7().to_string();
    if table.put(&new.username, &id)? {
        let user = User {
            id: &id,
            username: &new.username,
        };
        Ok((201, serde_json::to_string(&user)?))
    } else {
        Ok((409, json!({ "title": "Username taken" }).to_string()))
    }
}

/// An HTTP connection that carries one request at a time.
struct Connection<S> {
    stream: S,
    received: Vec<u8>,
}

impl Connection<TcpStream> {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::with_capacity(8192),
        })
    }
}

impl<S: Read + Write> Connection<S> {
    /// Sends a request, and returns the response's head and body.
    fn exchange(&mut self, request: &[u8]) -> io::Result<(String, Vec<u8>)> {
        self.stream.write_all(request)?;
        self.received.clear();
        let body_starts = loop {
            self.receive()?;
            if let Some(end) = self.received.windows(4).position(|it| it == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8_lossy(&self.received[..body_starts]).into_owned();
        let length: usize = header(&head, "content-length")
            .and_then(|length| length.parse().ok())
            .ok_or_else(|| io::Error::other("a response without a length"))?;
        while self.received.len() < body_starts + length {
            self.receive()?;
        }
        Ok((head, self.received[body_starts..].to_vec()))
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut part = [0; 8192];
        let length = self.stream.read(&mut part)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.received.extend_from_slice(&part[..length]);
        Ok(())
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

trait ReadWrite: Read + Write {}
impl<S: Read + Write> ReadWrite for S {}

struct Table {
    connection: Connection<Box<dyn ReadWrite>>,
    name: String,
    host: String,
    region: String,
    access_key: String,
    secret: String,
    token: String,
    /// The day of the last signature, and that day's signing key.
    key: (String, hmac::Key),
}

impl Table {
    fn connect() -> Result<Self, Box<dyn Error>> {
        let url = env::var("AWS_ENDPOINT_URL_DYNAMODB")?;
        let (scheme, host) = url.split_once("://").ok_or("a URL without a scheme")?;
        let Connection { stream, received } = Connection::new(TcpStream::connect(host)?)?;
        let stream: Box<dyn ReadWrite> = if scheme == "https" {
            Box::new(tls(host, stream)?)
        } else {
            Box::new(stream)
        };
        Ok(Self {
            connection: Connection { stream, received },
            name: env::var("TABLE_NAME")?,
            host: host.to_owned(),
            region: env::var("AWS_REGION")?,
            access_key: env::var("AWS_ACCESS_KEY_ID")?,
            secret: format!("AWS4{}", env::var("AWS_SECRET_ACCESS_KEY")?),
            token: env::var("AWS_SESSION_TOKEN").unwrap_or_default(),
            key: (String::new(), hmac::Key::new(hmac::HMAC_SHA256, b"")),
        })
    }

    /// Puts a user into the table. Returns `false` if the username is taken.
    fn put(&mut self, username: &str, id: &str) -> Result<bool, Box<dyn Error>> {
        let key = username.to_ascii_lowercase();
        let body = serde_json::to_string(&PutItem {
            table_name: &self.name,
            item: Item {
                kind: Text("user"),
                username_key: Text(&key),
                username: Text(username),
                id: Text(id),
            },
            condition_expression: "attribute_not_exists(username_key)",
            return_values_on_condition_check_failure: "ALL_OLD",
        })?;
        let request = self.signed("DynamoDB_20120810.PutItem", &body);
        let (head, body) = self.connection.exchange(request.as_bytes())?;
        if head.starts_with("HTTP/1.1 200 ") && header(&head, "x-amzn-requestid").is_some() {
            return Ok(true);
        }
        let body = String::from_utf8_lossy(&body);
        if body.contains("ConditionalCheckFailedException") {
            return Ok(false);
        }
        Err(format!("{head}{body}").into())
    }

    /// Signs a request to DynamoDB
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).
    fn signed(&mut self, target: &str, body: &str) -> String {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let time = now.replace(['-', ':'], "");
        let day = &time[..8];
        if self.key.0 != day {
            let parts = [day, &self.region, "dynamodb", "aws4_request"];
            let sign = |key: hmac::Key, part: &str| {
                let signed = hmac::sign(&key, part.as_bytes());
                hmac::Key::new(hmac::HMAC_SHA256, signed.as_ref())
            };
            let secret = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
            self.key = (day.to_owned(), parts.into_iter().fold(secret, sign));
        }
        let Self { host, token, .. } = self;
        let headers = format!(
            "content-type:application/x-amz-json-1.0\nhost:{host}\nx-amz-date:{time}\n\
             x-amz-security-token:{token}\nx-amz-target:{target}\n"
        );
        let names = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target";
        let canonical = format!("POST\n/\n\n{headers}\n{names}\n{}", sha256(body));
        let scope = format!("{day}/{}/dynamodb/aws4_request", self.region);
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(&canonical));
        let signature = hex(hmac::sign(&self.key.1, text.as_bytes()).as_ref());
        format!(
            "POST / HTTP/1.1\r\n{}authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, \
             SignedHeaders={names}, Signature={signature}\r\ncontent-length: {}\r\n\r\n{body}",
            headers.replace('\n', "\r\n"),
            self.access_key,
            body.len(),
        )
    }
}

fn tls(
    host: &str,
    tcp: TcpStream,
) -> Result<StreamOwned<ClientConnection, TcpStream>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(env::var("AWS_CA_BUNDLE")?)? {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = host.split(':').next().unwrap_or(host).to_owned();
    let client = ClientConnection::new(Arc::new(config), name.try_into()?)?;
    let mut stream = StreamOwned::new(client, tcp);
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(stream)
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    body: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct NewUser<'a> {
    #[serde(borrow)]
    username: Cow<'a, str>,
}

#[derive(Serialize)]
struct User<'a> {
    id: &'a str,
    username: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutItem<'a> {
    table_name: &'a str,
    item: Item<'a>,
    condition_expression: &'static str,
    return_values_on_condition_check_failure: &'static str,
}

#[derive(Serialize)]
struct Item<'a> {
    kind: Attribute<'a>,
    username_key: Attribute<'a>,
    username: Attribute<'a>,
    id: Attribute<'a>,
}

#[derive(Serialize)]
enum Attribute<'a> {
    S(&'a str),
}
use Attribute::S as Text;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    status_code: u16,
    headers: ResponseHeaders,
    body: &'a str,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ResponseHeaders {
    content_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    request_id: &'a str,
    trace_id: Option<&'a str>,
    route: &'static str,
    status: u16,
    cold_start: bool,
    latency: f64,
}
